// One answer as it comes: what was heard, the four steps, the reply. All text goes in as text.

const STEPS = ["Emotion", "Intent", "Psychology", "Strategy"];
const HEADING = new RegExp(`^\\s*(${STEPS.join("|")}):`);

const copy = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
export const percent = (share) => `${Math.round(100 * share)} %`;
const isChance = (share) => typeof share === "number" && share >= 0 && share <= 1;

export class Answer {
  constructor(place, { adapter, route }) {
    this.node = copy("answer-template");
    this.find = (selector) => this.node.querySelector(selector);
    Object.assign(this, { adapter, route, began: performance.now(), reasoning: "", reply: "" });
    this.find(".who").textContent = adapter === "base" ? "Base model" : adapter;
    this.find(".route").textContent = route === "explicit" ? "thinks first" : "answers directly";
    this.find(".reply").dataset.waiting = "true";
    place.append(this.node);
  }

  /** A piece of a streamed message. */
  take(delta) {
    if (typeof delta.reasoning_content === "string") this.think(delta.reasoning_content);
    if (typeof delta.content === "string") this.say(delta.content);
    if (delta.cogaudio?.emotion) this.hear(delta.cogaudio.emotion);
    this.parse = delta.cogaudio?.parse ?? this.parse;
  }

  started() {
    this.first ??= performance.now();
  }

  hear({ label, probabilities }) {
    this.started();
    const shares = Object.entries(probabilities ?? {}).filter(([, share]) => isChance(share));
    const sure = shares.find(([name]) => name === label)?.[1];
    this.heard = { label: String(label), sure };
    this.node.dataset.emotion = label;
    this.find(".label").textContent = label;
    this.find(".sure").textContent = sure === undefined ? "" : `${percent(sure)} sure`;
    this.find(".emotions").replaceChildren(...shares.map(([name, share]) => {
      const item = copy("emotion-template");
      item.dataset.emotion = name;
      item.classList.toggle("top", name === label);
      item.querySelector(".name").textContent = name;
      item.querySelector(".share").textContent = percent(share);
      item.querySelector(".bar").style.setProperty("--share", share);
      return item;
    }));
    this.find(".heard").hidden = false;
  }

  think(piece) {
    this.started();
    this.reasoning += piece;
    const { steps, other } = unfold(this.reasoning);
    if (!steps.length && !other.trim()) return;
    this.find(".thought").hidden = false;
    steps.forEach(({ name, text }, i) => {
      const item = this.find(".steps").children[i] ?? this.step(name);
      item.querySelector(".step-name").textContent = name;
      item.querySelector(".letter").textContent = name[0];
      item.querySelector("p").textContent = text;
    });
    const unparsed = this.find(".unparsed");
    unparsed.textContent = other.trim();
    unparsed.hidden = !other.trim();
  }

  step() {
    const item = copy("step-template");
    item.querySelector("details").open = true;
    this.find(".steps").append(item);
    return item;
  }

  say(piece) {
    this.started();
    this.reply += piece;
    const reply = this.find(".reply");
    reply.textContent = this.reply.trimStart();
    if (!this.reply.trim()) return;
    this.firstWord ??= performance.now();
    delete reply.dataset.waiting;
  }

  /** The answer is whole; or it ended early, and `note` says why. */
  end({ finish, usage, note }) {
    const reply = this.find(".reply");
    delete reply.dataset.waiting;
    this.node.removeAttribute("aria-busy");
    const empty = !this.reply.trim() ? "The model said nothing." : "";
    const cut = finish === "length" ? "It was cut off at the longest answer allowed." : "";
    const said = note ?? [empty, cut].filter(Boolean).join(" ");
    this.find(".trouble-here").textContent = said;
    this.find(".trouble-here").hidden = !said;
    const seconds = (since) => `${((since - this.began) / 1000).toFixed(1)} s`;
    const figures = [
      this.firstWord && `first word after ${seconds(this.firstWord)}`,
      `done after ${seconds(performance.now())}`,
      Number.isInteger(usage?.completion_tokens) && `${usage.completion_tokens} tokens`,
      this.parse && this.parse !== "ok" && `not in the form it was taught: ${String(this.parse).replaceAll("_", " ")}`,
    ];
    this.find(".figures").textContent = note ? "" : figures.filter(Boolean).join(" · ");
  }

  /** What a screen reader says of a whole answer. */
  get aloud() {
    const heard = this.heard ? `heard ${this.heard.label}. ` : "";
    return `${this.find(".who").textContent}: ${heard}${this.reply.trim()}`;
  }
}

/** Reasoning so far as steps, the last one still growing, and what belongs to none. */
export function unfold(reasoning) {
  const steps = [];
  const other = [];
  for (const line of reasoning.split("\n")) {
    const name = HEADING.exec(line)?.[1];
    if (name) steps.push({ name, text: line.slice(line.indexOf(":") + 1).trim() });
    // "Inte" will be "Intent:" in a moment; only the last line can be unfinished.
    else if (line.trim() && !STEPS.some((step) => step.startsWith(line.trim()))) other.push(line);
  }
  return { steps, other: other.join("\n") };
}

/** The reply alone, from a rollout's whole text. */
export function replyOf(text) {
  const inside = /<response>([\s\S]*?)(<\/response>|$)/.exec(text);
  return (inside ? inside[1] : text).trim();
}
