// The page: one sound and some words in, one answer or two beside each other out.

import { Answer } from "/web/answer.js";
import { chat, json, key, Trouble } from "/web/api.js";
import { showRuns } from "/web/shelf.js";
import { base64, fromFile, Player, Recording } from "/web/sound.js";
import { Wave } from "/web/wave.js";

const at = (id) => document.getElementById(id);
const wave = new Wave(at("wave"));
const player = new Player(followed);
const RETRY_MS = 3000;

let models = []; // {id, adapter, route, seconds}
let sound = null;
let latest = null; // the sound that was last promised
let recording = null;
let asking = null; // AbortController
let retry = 0;

// -- the sound --------------------------------------------------------------------------------

function take(taken) {
  sound = taken;
  latest = null;
  player.load(taken?.buffer ?? null);
  wave.show(taken?.buffer ?? null);
  at("invitation").hidden = Boolean(taken);
  at("seek").hidden = at("play").hidden = !taken?.buffer;
  at("seek").value = 0;
  at("remove").hidden = !taken;
  at("sound-note").textContent = taken ? described(taken) : "";
  calm();
  refresh();
}

function described({ name, buffer }) {
  return buffer ? `${name} · ${buffer.duration.toFixed(1)} s` : `${name} · this browser cannot play it`;
}

function followed(playing, seconds) {
  const share = player.buffer ? seconds / player.buffer.duration : 0;
  wave.progress(playing || seconds ? share : 0);
  at("seek").value = Math.round(1000 * share);
  at("seek").setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
  at("play").dataset.playing = playing;
  at("play-text").textContent = playing ? "Pause" : "Play";
}

/** Seconds of the longest clip that the server takes. */
function longest() {
  return Math.max(...models.map(({ seconds }) => seconds)) || 30;
}

async function record() {
  if (recording) return stopRecording();
  at("record").disabled = true;
  try {
    take(null);
    wave.listen();
    recording = await Recording.begin(
      (block, seconds) => {
        wave.hear(block);
        at("sound-note").textContent = `Recording · ${seconds.toFixed(0)} s`;
      },
      stopRecording,
      longest(),
    );
    at("invitation").hidden = true;
  } catch (error) {
    take(null);
    fail(error);
  } finally {
    at("record").disabled = false;
    refresh();
  }
}

async function stopRecording() {
  const stopped = recording;
  recording = null;
  try {
    take(await stopped.stop());
    at("send").focus();
  } catch (error) {
    take(null);
    fail(error);
  }
}

/** A sound that is still being read. Till it is there, none can be asked with; the latest one counts. */
async function takeSoon(promised) {
  recording?.discard();
  recording = null;
  take(null);
  at("invitation").hidden = true;
  at("sound-note").textContent = "Reading the sound";
  const mine = (latest = promised);
  try {
    const taken = await promised;
    if (mine === latest) take(taken);
  } catch (error) {
    if (mine !== latest) return;
    take(null);
    fail(error);
  }
}

const takeFile = (file) => file && takeSoon(fromFile(file));

// -- asking -----------------------------------------------------------------------------------

const route = () => document.querySelector("input[name=route]:checked").value;
const served = (adapter, by) => models.find((model) => model.adapter === adapter && model.route === by);

function wanted() {
  const adapter = at("adapter").value;
  const beside = at("compare").checked && !at("compare").disabled ? ["base"] : [];
  return [...beside, adapter].map((name) => served(name, route())).filter(Boolean);
}

async function ask() {
  if (asking || at("send").disabled) return;
  calm();
  recording && (await stopRecording());
  const words = at("question").value.trim();
  const controller = (asking = new AbortController());
  refresh();
  const chosen = wanted();
  const place = at("answers");
  place.replaceChildren();
  place.classList.toggle("two", chosen.length > 1);
  const answers = chosen.map((model) => new Answer(place, model));
  show(place);
  try {
    const content = [];
    if (sound) {
      const data = await base64(sound.bytes);
      content.push({ type: "input_audio", input_audio: { data, format: sound.format } });
    }
    if (words) content.push({ type: "text", text: words });
    const messages = [{ role: "user", content }];
    at("spoken").textContent = "Asking";
    await Promise.all(answers.map((answer, i) => follow(answer, { model: chosen[i].id, messages }, controller.signal)));
  } catch (error) {
    for (const answer of answers) answer.end({ note: "This could not be asked." });
    fail(error);
  } finally {
    asking = null;
    at("spoken").textContent = answers.filter(({ reply }) => reply).map(({ aloud }) => aloud).join(" ");
    refresh();
  }
}

/** Bring an answer that begins out of sight into sight. */
function show(place) {
  if (place.getBoundingClientRect().top < 0.4 * innerHeight) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.scrollIntoView({ block: "start", behavior: still ? "instant" : "smooth" });
}

/** One answer to its end, whatever that is. */
async function follow(answer, body, signal) {
  const last = {};
  try {
    for await (const { delta, ...more } of chat(body, signal)) {
      if (delta) answer.take(delta);
      Object.assign(last, more);
    }
    answer.end(last);
  } catch (error) {
    const stopped = signal.aborted;
    const begun = answer.first !== undefined;
    answer.end({ note: stopped ? "Stopped." : begun ? "It ends here." : "No answer." });
    if (!stopped) fail(error);
  }
}

// -- what the page says -----------------------------------------------------------------------

function fail(error) {
  if (error?.name === "AbortError") return;
  const trouble = error instanceof Trouble ? error : new Trouble("Something went wrong in this page.", "Load it again.");
  if (trouble !== error) console.error(error);
  at("trouble-what").textContent = trouble.what;
  at("trouble-remedy").textContent = trouble.remedy;
  at("again").hidden = !at("answers").children.length || trouble.status === 413 || trouble.status === 415;
  at("trouble").hidden = false;
  if (trouble.status === 401) askForKey();
  if (trouble.status === 404) loadModels().catch(() => {});
  if (trouble.gone) away("No server");
}

function calm() {
  at("trouble").hidden = true;
}

function askForKey() {
  at("key-form").hidden = false;
  at("key").focus();
}

function say(state, text) {
  at("state").dataset.state = state;
  at("state-text").textContent = text;
}

/** What can be pressed now. */
function refresh() {
  const some = Boolean(sound || recording || at("question").value.trim());
  const adapter = at("adapter").value;
  for (const input of document.querySelectorAll("input[name=route]")) {
    input.disabled = models.length > 0 && !served(adapter, input.value);
    if (input.disabled && input.checked) document.querySelector("input[name=route]:not(:disabled)")?.click();
  }
  at("adapter").disabled = !models.length;
  at("compare").disabled = adapter === "base" || !served("base", route());
  at("send").disabled = !models.length || !some;
  at("send").ariaDisabled = Boolean(asking); // not disabled: it would lose the keyboard's place
  at("cancel").hidden = !asking;
  at("record").dataset.recording = Boolean(recording);
  at("record-text").textContent = recording ? "Stop" : "Record";
  at("forget-key").hidden = !key.get();
}

// -- the server -------------------------------------------------------------------------------

async function loadModels() {
  const { data } = await json("/v1/models");
  models = data.map(({ id, cogaudio }) => ({
    id,
    adapter: cogaudio?.adapter ?? id,
    route: cogaudio?.route ?? "direct",
    seconds: cogaudio?.max_audio_s ?? 0,
  }));
  const adapters = [...new Set(models.map(({ adapter }) => adapter))];
  const trained = adapters.filter((adapter) => adapter !== "base");
  const before = at("adapter").value;
  at("adapter").replaceChildren(...[...trained, ...adapters.filter((a) => a === "base")].map((adapter) => {
    const named = adapter === "base" ? "base, as it came" : adapter;
    return new Option(named, adapter, false, adapter === before);
  }));
  say("ready", adapters.length > 1 ? `Ready · ${trained.join(", ")}` : "Ready · base only");
  at("key-form").hidden = true;
  refresh();
}

async function connect() {
  try {
    await loadModels();
  } catch (error) {
    if (error.status !== 401) return away(waitsFor(error));
    say("asking", "Waits for a key");
    if (key.get()) fail(new Trouble("The server does not know this key.", "Enter another one.", error));
    else askForKey();
    return;
  }
  await showRuns({ take: takeSoon, fail }).catch((error) => error.status === 404 || fail(error));
}

const waitsFor = ({ status }) =>
  status === 503 ? "The model is loading" : status ? "The server has a problem" : "No server";

/** Say what is missing and look again, until it is there. */
function away(what) {
  say("away", what);
  clearTimeout(retry);
  retry = setTimeout(connect, RETRY_MS);
}

at("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
at("ask").addEventListener("input", refresh);
at("cancel").onclick = () => { at("send").focus(); asking?.abort(); };
at("again").onclick = ask;
at("record").onclick = record;
at("play").onclick = () => player.toggle();
at("seek").oninput = () => player.seek((at("seek").value / 1000) * player.buffer.duration);
at("choose").onclick = () => at("file").click();
at("file").onchange = () => { takeFile(at("file").files[0]); at("file").value = ""; };
at("remove").onclick = () => { take(null); at("record").focus(); };
at("forget-key").onclick = () => { key.forget(); location.reload(); };
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at("key").value.trim());
  at("key").value = "";
  calm();
  connect();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && asking) at("cancel").click();
});

// A sound may be dropped anywhere.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("sound").dataset.over = "true";
});
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (name === "drop" || !event.relatedTarget) delete at("sound").dataset.over;
  });
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  takeFile(event.dataTransfer.files[0]);
});

refresh();
connect();
