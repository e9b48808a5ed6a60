// A sound's shape, drawn as rounded bars; those already played are in the accent's colour.

const BAR = 3;
const GAP = 2;

export class Wave {
  constructor(canvas) {
    Object.assign(this, { canvas, peaks: [], samples: null, live: false, played: 0 });
    new ResizeObserver(() => this.resize()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
      matchMedia(query).addEventListener("change", () => this.draw());
    }
  }

  /** Show a decoded sound; null: the resting line. */
  show(buffer) {
    Object.assign(this, { samples: buffer?.getChannelData(0) ?? null, live: false, played: 0 });
    this.resize();
  }

  /** Begin to follow a microphone. */
  listen() {
    Object.assign(this, { samples: null, live: true, peaks: [], played: 0 });
    this.draw();
  }

  /** One more block of the microphone's samples. */
  hear(block) {
    let peak = 0;
    for (const sample of block) peak = Math.max(peak, Math.abs(sample));
    this.block = Math.max(this.block ?? 0, peak);
    this.count = (this.count ?? 0) + block.length;
    if (this.count < 2400) return; // 20 bars a second
    this.peaks.push(Math.min(1, this.block * 1.6));
    this.block = this.count = 0;
    this.draw();
  }

  /** How far it has been played, 0 to 1. */
  progress(share) {
    this.played = share;
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * scale);
    this.canvas.height = Math.round(clientHeight * scale);
    if (!this.live) this.peaks = this.samples ? peaks(this.samples, this.places) : [];
    this.draw();
  }

  get places() {
    return Math.max(1, Math.floor((this.canvas.clientWidth + GAP) / (BAR + GAP)));
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const [played, ahead, rest] = ["--accent", "--wave", "--line"].map((name) => style.getPropertyValue(name));
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = devicePixelRatio || 1;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const shown = this.live ? this.peaks.slice(-this.places) : this.peaks;
    const resting = !shown.length;
    for (let i = 0; i < this.places; i++) {
      const peak = shown[i] ?? 0;
      const tall = Math.max(BAR, peak * (height - 8));
      pen.fillStyle = resting || i >= shown.length ? rest
        : this.live || i / shown.length < this.played ? played : ahead;
      pen.beginPath();
      pen.roundRect(i * (BAR + GAP), (height - tall) / 2, BAR, tall, BAR / 2);
      pen.fill();
    }
  }
}

/** The loudest sample of each of `count` parts, the loudest of all being 1. */
function peaks(samples, count) {
  const found = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const end = Math.floor(((i + 1) * samples.length) / count);
    for (let at = Math.floor((i * samples.length) / count); at < end; at++) {
      found[i] = Math.max(found[i], Math.abs(samples[at]));
    }
  }
  const top = Math.max(0.02, ...found);
  return [...found].map((peak) => peak / top);
}
