// What runs left: their reports, and sounds of their training to hear and to ask with.

import { bytes, json } from "/web/api.js";
import { replyOf } from "/web/answer.js";
import { fromBytes, Player } from "/web/sound.js";

const AT_ONCE = 8;
const SAMPLES = 6;
const copy = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

/** Fills the shelf and the samples. `take(promise)` asks with a sound, `fail(trouble)` shows trouble. */
export async function showRuns({ take, fail }) {
  const { data: runs } = await json("/v1/runs");
  document.getElementById("run-list").replaceChildren(...runs.map((run) => card(run, { take, fail })));
  document.getElementById("runs").hidden = !runs.length;
  await showSamples(runs, take);
}

async function showSamples(runs, take) {
  const found = [];
  for (const run of runs) {
    found.push(...(await rolloutsOf(run)).filter(({ audio }) => audio));
    if (found.length) break;
  }
  const chosen = various(found).slice(0, SAMPLES);
  document.getElementById("sample-list").replaceChildren(...chosen.map((rollout) => {
    const item = copy("sample-template");
    item.querySelector(".hue").dataset.emotion = rollout.emotion;
    item.querySelector(".said").textContent = rollout.transcript;
    item.querySelector(".how").textContent = rollout.emotion;
    item.querySelector("button").onclick = () => take(fetchSound(rollout));
    return item;
  }));
  document.getElementById("samples").hidden = !chosen.length;
}

const rolloutsOf = async (run) => (await json(`${run.rollouts}?limit=96`)).data;

/** One sound of each emotion first, then the rest; each sound once. */
function various(rollouts) {
  const sounds = [...new Map(rollouts.map((rollout) => [rollout.audio, rollout])).values()];
  const seen = new Set();
  const first = sounds.filter(({ emotion }) => !seen.has(emotion) && seen.add(emotion));
  return [...first, ...sounds.filter((sound) => !first.includes(sound))];
}

function card(run, { take, fail }) {
  const node = copy("run-template");
  node.querySelector("h3").textContent = run.id;
  node.querySelector(".models").textContent = run.models.length ? `taught ${run.models.join(", ")}` : "";
  const links = [["Report", run.report], ["Report over the suites", run.suites]];
  node.querySelector(".links").append(...links.filter(([, address]) => address).map(([name, address]) => {
    const link = Object.assign(document.createElement("a"), { href: address, target: "_blank", rel: "noopener" });
    link.textContent = name;
    return link;
  }));
  const listen = node.querySelector(".listen");
  const wait = node.querySelector(".wait");
  listen.addEventListener("toggle", async () => {
    if (!listen.open || listen.dataset.filled) return;
    wait.textContent = "Fetching";
    try {
      const rest = await rolloutsOf(run);
      wait.textContent = rest.length ? "" : "This run kept no rollouts.";
      listen.dataset.filled = "true";
      const more = listen.querySelector(".more");
      more.onclick = () => {
        const next = rest.splice(0, AT_ONCE).map((line) => rollout(line, { take, fail }));
        listen.querySelector(".rollouts").append(...next);
        more.hidden = !rest.length;
      };
      more.onclick();
    } catch (error) {
      wait.textContent = "";
      listen.open = false;
      fail(error);
    }
  });
  return node;
}

function rollout(line, { take, fail }) {
  const node = copy("rollout-template");
  node.querySelector(".said").textContent = line.transcript;
  node.querySelector(".answered").textContent = replyOf(line.text);
  const facts = [
    line.emotion,
    line.step === null ? "" : `step ${line.step}`,
    line.route === "explicit" ? "thought first" : "direct",
    line.reward === null ? "not scored" : `reward ${line.reward.toFixed(2)}`,
  ];
  node.querySelector(".facts").textContent = facts.filter(Boolean).join(" · ");
  const play = node.querySelector(".listen-to");
  play.querySelector("span").textContent = `Play “${line.transcript}”`;
  const player = new Player((playing) => { play.dataset.playing = playing; });
  play.disabled = node.querySelector(".take").disabled = !line.audio;
  play.onclick = async () => {
    try {
      if (!player.buffer) player.load((await fetchSound(line)).buffer);
      await player.toggle();
    } catch (error) {
      fail(error);
    }
  };
  node.querySelector(".take").onclick = () => take(fetchSound(line));
  return node;
}

/** A rollout's sound. Fetched, not linked: only so does the key travel. */
async function fetchSound({ audio, transcript }) {
  const got = await bytes(audio);
  const letters = String.fromCharCode(...new Uint8Array(got, 0, Math.min(4, got.byteLength)));
  const format = { fLaC: "flac", OggS: "ogg", RIFF: "wav" }[letters] ?? "mp3";
  return fromBytes(transcript, format, got);
}
