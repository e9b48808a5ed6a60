// Sound in the browser: record, decode, write as wav, play.

import { Trouble } from "/web/api.js";

export const RATE = 16000; // what the models hear
const SENT_AS_IT_IS = new Set(["wav", "mp3", "flac", "ogg"]);
const TYPES = { "audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/x-flac": "flac" };
const MAX_FILE_BYTES = 100e6; // base64 of more would freeze the tab; the server's own limit is lower

// Decoding needs no leave to make a sound, which a browser gives only once the user did something.
const decoder = new OfflineAudioContext(1, 1, 44100);
let context;
/** What plays and records. */
function audio() {
  context ??= new AudioContext();
  return context;
}

/** A sound to ask with: {name, format, bytes, buffer}; buffer is null where this browser cannot decode it. */
export async function fromFile(file) {
  if (file.size > MAX_FILE_BYTES) throw new Trouble("This file is too large.", "Use a shorter sound.");
  if (!file.size) throw new Trouble("This file is empty.", "Choose another one.");
  const bytes = await file.arrayBuffer();
  const ending = file.name.split(".").pop().toLowerCase();
  const format = SENT_AS_IT_IS.has(ending) ? ending : (TYPES[file.type] ?? file.type.split("/")[1] ?? "");
  return fromBytes(file.name, format, bytes);
}

export async function fromBytes(name, format, bytes) {
  const buffer = await decoder.decodeAudioData(bytes.slice(0)).catch(() => null);
  if (SENT_AS_IT_IS.has(format)) return { name, format, bytes, buffer };
  if (buffer) return { name, format: "wav", bytes: wav(await mono(buffer)), buffer };
  throw new Trouble("This is not a sound that can be read here.", "Use a wav, mp3, flac or ogg file.");
}

/** Records until stopped, `most` seconds at the longest. `hear` gets each block of samples as it comes. */
export class Recording {
  static async begin(hear, end, most) {
    if (!navigator.mediaDevices) {
      throw new Trouble(
        "The browser lends its microphone only over https or on this machine itself.", "Choose a file instead.");
    }
    const asked = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: asked });
    } catch (error) {
      const none = error.name === "NotFoundError";
      throw new Trouble(
        none ? "There is no microphone." : "The browser was not allowed to use the microphone.",
        none ? "Choose a file instead." : "Allow it in the address bar, or choose a file.");
    }
    await audio().audioWorklet.addModule("/web/recorder.js");
    await audio().resume();
    return new Recording(stream, hear, end, most);
  }

  constructor(stream, hear, end, most) {
    Object.assign(this, { stream, blocks: [], samples: 0 });
    this.source = audio().createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(audio(), "recorder", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => {
      this.blocks.push(data);
      this.samples += data.length;
      hear(data, this.seconds);
      if (this.seconds >= most) end();
    };
    this.source.connect(this.node);
  }

  get seconds() {
    return this.samples / audio().sampleRate;
  }

  /** The sound that was recorded. Throws Trouble where nothing was. */
  async stop() {
    this.discard();
    if (this.seconds < 0.1) throw new Trouble("Nothing was recorded.", "Hold on a little longer.");
    const buffer = audio().createBuffer(1, this.samples, audio().sampleRate);
    let at = 0;
    for (const block of this.blocks) {
      buffer.copyToChannel(block, 0, at);
      at += block.length;
    }
    return { name: "Your recording", format: "wav", bytes: wav(await mono(buffer)), buffer };
  }

  discard() {
    this.node.port.onmessage = null;
    this.source.disconnect();
    for (const track of this.stream.getTracks()) track.stop();
  }
}

/** One channel at RATE, float32. */
async function mono(buffer) {
  const offline = new OfflineAudioContext(1, Math.max(1, Math.round(buffer.duration * RATE)), RATE);
  const source = offline.createBufferSource();
  source.buffer = buffer;
  source.connect(offline.destination);
  source.start();
  return (await offline.startRendering()).getChannelData(0);
}

/** A wav file of 16-bit PCM at RATE. */
function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => {
    view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
  });
  return view.buffer;
}

export async function base64(bytes) {
  const reader = new FileReader();
  await new Promise((done, failed) => {
    reader.onload = done;
    reader.onerror = failed;
    reader.readAsDataURL(new Blob([bytes]));
  });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

/** Plays one sound at a time in the whole page; `changed(playing, seconds)` follows it. */
export class Player {
  static current = null;

  constructor(changed) {
    Object.assign(this, { changed, buffer: null, from: 0, source: null });
  }

  load(buffer) {
    this.pause();
    Object.assign(this, { buffer, from: 0 });
  }

  get playing() {
    return this.source !== null;
  }

  get seconds() {
    if (!this.playing) return this.from;
    return Math.min(this.buffer.duration, this.from + audio().currentTime - this.began);
  }

  async play() {
    if (!this.buffer || this.playing) return;
    Player.current?.pause();
    await audio().resume();
    const source = audio().createBufferSource();
    source.buffer = this.buffer;
    source.connect(audio().destination);
    source.onended = () => {
      if (this.source !== source) return;
      this.source = null;
      this.from = 0;
      this.changed(false, 0);
    };
    if (this.from >= this.buffer.duration - 0.02) this.from = 0;
    this.began = audio().currentTime;
    source.start(0, this.from);
    this.source = source;
    Player.current = this;
    this.follow();
  }

  pause() {
    if (!this.playing) return;
    this.from = this.seconds;
    const source = this.source;
    this.source = null;
    source.stop();
    this.changed(false, this.from);
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  async seek(seconds) {
    const wasPlaying = this.playing;
    this.pause();
    this.from = seconds;
    this.changed(false, seconds);
    if (wasPlaying) await this.play();
  }

  follow() {
    if (!this.playing) return;
    this.changed(true, this.seconds);
    requestAnimationFrame(() => this.follow());
  }
}
