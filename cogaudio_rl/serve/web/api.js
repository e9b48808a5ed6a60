// The server, as the page sees it: keys, JSON, streamed answers, and trouble in plain words.

const KEY = "cogaudio-key";

/** What went wrong, in one sentence, and what to do about it. */
export class Trouble extends Error {
  constructor(what, remedy, { status = 0, gone = false } = {}) {
    super(what);
    Object.assign(this, { what, remedy, status, gone });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A response of status 2xx. Throws Trouble; lets an AbortError through. */
async function call(address, { headers = {}, ...options } = {}) {
  const bearer = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  let response;
  try {
    response = await fetch(address, { ...options, headers: { ...headers, ...bearer } });
  } catch (error) {
    throw error.name === "AbortError" ? error : gone();
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export const json = async (address, options) => (await call(address, options)).json();
export const bytes = async (address, options) => (await call(address, options)).arrayBuffer();

/** The deltas of a streamed chat completion, and its last words: {delta}, {finish}, {usage}. */
export async function* chat(body, signal) {
  const response = await call("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  for await (const text of events(response.body)) {
    if (text === "[DONE]") return;
    const chunk = read(text);
    if (chunk.error) throw new Trouble(sentence(chunk.error.message), "Ask again.");
    const choice = chunk.choices?.[0];
    if (choice?.delta) yield { delta: choice.delta };
    if (choice?.finish_reason) yield { finish: choice.finish_reason };
    if (chunk.usage) yield { usage: chunk.usage };
  }
  throw broken();
}

/** The data of each server-sent event of a body. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  let lines = [];
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw error.name === "AbortError" ? error : broken();
      });
      if (done) return;
      const parts = (waiting + value).split(/\r\n|\n|\r(?!$)/);
      waiting = parts.pop();
      for (const line of parts) {
        if (line.startsWith("data:")) lines.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && lines.length) {
          yield lines.join("\n");
          lines = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw broken();
  }
}

const gone = () =>
  new Trouble("The server does not answer.", "See that it still runs, then ask again.", { gone: true });
const broken = () => new Trouble("The answer broke off before its end.", "Ask again.");

/** Trouble for a response that is an error. */
async function refusal(response) {
  const { status, headers } = response;
  const said = sentence((await response.json().catch(() => ({})))?.error?.message);
  const wait = Number(headers.get("Retry-After")) || 0;
  const seconds = wait === 1 ? "a second" : `${wait} seconds`;
  const [what, remedy] = {
    401: ["The server asks for a key.", "Enter it above, then ask again."],
    404: ["That is not served here any more.", "Choose another model or sound."],
    413: [said || "This sound is too large.", "Use a shorter one."],
    415: [said || "The server could not read this as sound.", "Use a wav, mp3, flac or ogg file."],
    429: ["All places are taken.", wait ? `Ask again in ${seconds}.` : "Ask again in a moment."],
    503: ["The model is not ready.", "Ask again in a moment."],
  }[status] ?? (status < 500
    ? [said || "The server refused this.", "Change it and ask again."]
    : ["The server failed at this.", "Ask again; its log says why."]);
  return new Trouble(what, remedy, { status });
}

/** An error's message as a sentence of its own. */
function sentence(message) {
  const text = typeof message === "string" ? message.trim() : "";
  if (!text) return "";
  const begun = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
