"use strict";

// Panels of a figure stand beside each other where there is room, else below each other.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function arrange(div, printed) {
  const {panels = 1, row = 400} = div.layout.meta || {};
  const columns = panels > 1 && div.clientWidth >= 640 ? 2 : 1, rows = Math.ceil(panels / columns);
  // A printed figure fits on one page, and where it can on half of one.
  const height = Math.round(printed ? Math.min(0.85 * rows * row, 860) : rows * row) + 40;
  div.style.height = `${height}px`;
  // Figures are clear, and grid and marks are visible on either background.
  const clear = "rgba(0, 0, 0, 0)", text = dark.matches && !printed ? "#dddddd" : "#333333";
  const look = {"font.color": text, paper_bgcolor: clear, plot_bgcolor: clear, "modebar.bgcolor": clear};
  Plotly.relayout(div, {...look, "grid.rows": rows, "grid.columns": columns, width: div.clientWidth, height});
}

const figures = document.querySelectorAll(".js-plotly-plot");
const arrangeAll = printed => figures.forEach(div => arrange(div, printed));
// Paper has a width of its own (that of A4 and Letter less the margins), which no resize event announces.
const setWidth = width => { figures.forEach(div => { div.style.width = width; }); arrangeAll(width !== ""); };
window.addEventListener("load", () => setWidth(""));
dark.addEventListener("change", () => arrangeAll(false));
window.addEventListener("resize", () => arrangeAll(false));
window.addEventListener("beforeprint", () => setWidth("680px"));
window.addEventListener("afterprint", () => setWidth(""));

// One player for several sounds of equal length: all run at once, one is audible.
class Player {
  constructor(box) {
    this.box = box;
    this.audios = [...box.querySelectorAll("audio")];
    this.chosen = 0;
    this.at = 0;  // Seconds from the beginning, while nothing plays.
    this.button = box.appendChild(document.createElement("button"));
    this.button.type = "button";
    this.audios.forEach((audio, n) => {
      const label = box.appendChild(document.createElement("label")), radio = document.createElement("input");
      Object.assign(radio, {type: "radio", name: `player-${players.length}`, checked: n === 0});
      radio.addEventListener("change", () => this.choose(n));
      label.append(radio, " ", audio.title);
    });
    this.slider = box.appendChild(document.createElement("input"));
    Object.assign(this.slider, {type: "range", min: 0, max: 1, step: "any", value: 0, ariaLabel: "position"});
    this.slider.addEventListener("input", () => this.seek(this.slider.value * this.seconds()));
    this.button.addEventListener("click", () => this.running ? this.stop() : this.start());
    this.show();
    box.classList.add("ready");
  }
  async load() {
    this.context = Player.context ||= new AudioContext();
    this.buffers = await Promise.all(this.audios.map(async audio =>
      this.context.decodeAudioData(await (await fetch(audio.src)).arrayBuffer())));
    this.gains = this.buffers.map(() => new GainNode(this.context));
    this.gains.forEach(gain => gain.connect(this.context.destination));
    this.choose(this.chosen);
  }
  async start() {
    try {
      if (!this.buffers) await (this.loading ||= this.load());
    } catch (error) {
      // A browser that decodes no FLAC here may still play it there.
      this.box.classList.remove("ready");
      return;
    }
    players.forEach(other => other !== this && other.stop());
    await this.context.resume();
    this.sources = this.buffers.map((buffer, n) => {
      const source = new AudioBufferSourceNode(this.context, {buffer, loop: true});
      source.connect(this.gains[n]);
      return source;
    });
    this.began = this.context.currentTime + 0.05 - this.at;
    this.sources.forEach(source => source.start(this.began + this.at, this.at));
    this.running = true;
    this.show();
  }
  stop() {
    if (!this.running) return;
    this.at = this.position();
    this.sources.forEach(source => source.stop());
    this.running = false;
    this.show();
  }
  seek(seconds) {
    const running = this.running;
    this.stop();
    this.at = seconds;
    if (running) this.start();
  }
  choose(n) {
    this.chosen = n;
    // Within 10 ms, so that switching does not click.
    this.gains?.forEach((gain, k) => gain.gain.setTargetAtTime(k === n ? 1 : 0, this.context.currentTime, 0.003));
  }
  seconds() { return this.buffers ? this.buffers[0].duration : 0; }
  position() {
    if (!this.running) return this.at;
    return Math.max(0, this.context.currentTime - this.began) % this.seconds();
  }
  show() {
    this.button.textContent = this.running ? "Pause" : "Play";
    if (this.seconds()) this.slider.value = this.position() / this.seconds();
    if (this.running) requestAnimationFrame(() => this.show());
  }
}

const players = [];
document.querySelectorAll(".player").forEach(box => players.push(new Player(box)));
