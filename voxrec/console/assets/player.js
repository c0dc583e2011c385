// The player of a recording: buttons, keyboard, and the position.

import { clock } from "./clock.js";
import { problemOf } from "./problem.js";
import { Sides } from "./sides.js";
import { Waveform } from "./waveform.js";

const STEP = 5; // seconds, of the arrow keys
const LONG_STEP = 10; // seconds
const SAME_POSITION = 0.5; // seconds; the previous event is before that

export class Player {
  // "page" contains the events that the buttons jump to; "text" returns a text in the user's language.
  constructor(section, page, text) {
    this.section = section;
    this.page = page;
    this.text = text;
    this.audio = section.querySelector("#audio");
    this.pauses = JSON.parse(section.dataset.pauses);
    this.find = (id) => section.querySelector(`#${id}`);
    this.converted = null; // the promise of audio in a format that the browser plays
    this.showControls();
    this.listen();
    this.waveform = new Waveform(this, page.dataset.nonce);
    if (section.dataset.channels === "2") this.sides = new Sides(section, this.audio, text);
    this.update();
  }

  get position() { return this.audio.currentTime; }

  get duration() {
    const { duration } = this.audio;
    return Number.isFinite(duration) && duration > 0 ? duration : Number(this.section.dataset.duration);
  }

  // The positions of the events, in ascending order.
  get events() {
    const buttons = [...this.page.querySelectorAll("[data-event]")];
    return buttons
      .map((button) => ({ position: Number(button.dataset.position), text: button.dataset.event }))
      .sort((one, other) => one.position - other.position);
  }

  showControls() {
    this.audio.controls = false;
    this.audio.hidden = true;
    for (const id of ["transport", "keys"]) this.find(id).hidden = false;
  }

  listen() {
    const { audio, section } = this;
    for (const type of ["play", "pause", "timeupdate", "seeked", "durationchange", "ended"]) {
      audio.addEventListener(type, () => this.update());
    }
    audio.addEventListener("loadedmetadata", () => this.metadataLoaded());
    audio.querySelector("source:last-of-type").addEventListener("error", () => this.explainFailure());
    audio.addEventListener("error", () => this.explainFailure());
    this.find("play").addEventListener("click", () => this.toggle());
    this.find("speed").addEventListener("change", (event) => this.setSpeed(Number(event.target.value)));
    this.find("volume").addEventListener("input", (event) => { audio.volume = event.target.value; });
    section.addEventListener("keydown", (event) => this.keyPressed(event));
    for (const button of section.querySelectorAll("[data-seek]")) {
      button.addEventListener("click", () => this.seek(this.position + Number(button.dataset.seek)));
    }
    for (const button of section.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => this.jump(Number(button.dataset.jump)));
    }
  }

  setSpeed(speed) {
    this.audio.preservesPitch = true;
    this.audio.defaultPlaybackRate = speed; // loading other audio resets the rate to it
    this.audio.playbackRate = speed;
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  async play() {
    try {
      if (this.needsConversion) await this.convert();
      await this.audio.play();
    } catch (error) {
      if (error.name !== "AbortError" && error.name !== "NotSupportedError") this.showFailure(error);
    }
  }

  playFrom(position) {
    this.seek(position);
    this.play();
  }

  seek(position) {
    const target = Math.min(Math.max(0, position), this.duration);
    if (!this.waveform.setPosition(target)) this.audio.currentTime = target;
    this.update();
  }

  // Goes to the next (1) or to the previous (-1) event.
  jump(direction) {
    const positions = this.events.map((event) => event.position);
    const target = direction > 0
      ? positions.find((position) => position > this.position + 0.05)
      : positions.findLast((position) => position < this.position - SAME_POSITION);
    this.seek(target ?? (direction > 0 ? this.duration : 0));
  }

  keyPressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    const onButton = event.target.matches("button, a");
    const actions = {
      " ": onButton ? null : () => this.toggle(),
      k: () => this.toggle(),
      ArrowLeft: () => this.seek(this.position - STEP),
      ArrowRight: () => this.seek(this.position + STEP),
      ArrowDown: () => this.seek(this.position - STEP),
      ArrowUp: () => this.seek(this.position + STEP),
      j: () => this.seek(this.position - LONG_STEP),
      l: () => this.seek(this.position + LONG_STEP),
      PageDown: () => this.seek(this.position - this.duration / 10),
      PageUp: () => this.seek(this.position + this.duration / 10),
      Home: () => this.seek(0),
      End: () => this.seek(this.duration),
      ",": () => this.jump(-1),
      ".": () => this.jump(1),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  update() {
    const { audio, text } = this;
    const values = { position: clock(this.position), duration: clock(this.duration) };
    const position = text("position_of", values);
    this.find("play").textContent = audio.paused ? text("play") : text("pause");
    if (this.find("position").textContent !== position) {
      this.find("position").textContent = position;
      this.waveform?.describePosition(this.position, position);
    }
    const pause = this.pauses.find(([start, end]) => start <= this.position && this.position < end);
    const note = pause ? text("paused_here") : "";
    if (this.find("pause-note").textContent !== note) this.find("pause-note").textContent = note;
  }

  // Converted audio is not available in ranges, so that a browser can seek in it only when it has all of it.
  get needsConversion() {
    const url = this.audio.currentSrc || this.audio.querySelector("source")?.src || "";
    return url.startsWith("http") && new URL(url).searchParams.has("format");
  }

  convert() {
    this.converted ??= this.loadConverted().catch((error) => {
      this.converted = null;
      throw error;
    });
    return this.converted;
  }

  async loadConverted() {
    const { audio, position } = this;
    const status = this.find("audio-status");
    status.textContent = this.text("converting");
    const response = await fetch(audio.currentSrc || audio.querySelector("source").src);
    if (!response.ok) throw new Error(await problemOf(response));
    audio.src = URL.createObjectURL(await response.blob());
    audio.currentTime = position;
    status.textContent = "";
  }

  async metadataLoaded() {
    if (!this.needsConversion) return; // the browser cannot play the stored file, and has gone to the next source
    const playing = !this.audio.paused;
    try {
      await this.convert();
      if (playing) await this.audio.play();
    } catch (error) {
      this.showFailure(error);
    }
  }

  async explainFailure() {
    const url = this.audio.querySelector("source")?.src;
    const response = url && await fetch(url, { headers: { Range: "bytes=0-0" } }).catch((error) => error);
    const status = this.find("audio-status");
    if (response instanceof Error) this.showFailure(response);
    else if (response && !response.ok) this.showFailure(new Error(await problemOf(response)));
    else status.textContent = this.text("not_playable");
  }

  showFailure(error) {
    this.find("audio-status").textContent = this.text("audio_failed", { problem: error.message });
  }
}
