// The waveform of a recording with its events, its pauses and a time axis. It is a slider for the position.

import { clock } from "./clock.js";
import RegionsPlugin from "./regions.esm.js";
import TimelinePlugin from "./timeline.esm.js";
import WaveSurfer from "./wavesurfer.esm.js";

const MAX_POINTS = 4000; // of the peaks in REST
const LANE_HEIGHT = 72; // pixels, for each channel
const MARKER_DISTANCE = 6; // pixels; closer events share a marker

const styles = getComputedStyle(document.documentElement);
const colour = (name) => styles.getPropertyValue(name).trim();

export class Waveform {
  constructor(player, nonce) {
    this.player = player;
    this.nonce = nonce;
    this.drawn = false;
    this.container = player.find("waveform");
    this.status = player.find("waveform-status");
    this.draw().catch(() => {
      this.container.hidden = true;
      this.status.textContent = player.text("waveform_failed");
    });
  }

  async draw() {
    const { container, player } = this;
    container.hidden = false;
    this.status.textContent = player.text("waveform_loading");
    const points = Math.min(MAX_POINTS, Math.max(100, Math.ceil(container.clientWidth * devicePixelRatio / 100) * 100));
    const response = await fetch(`${player.section.dataset.peaks}?points=${points}`);
    if (!response.ok) throw new Error(response.statusText);
    const { channels, peaks } = await response.json();
    if (!player.audio.currentSrc) await new Promise((resolve) => setTimeout(resolve)); // WaveSurfer would change it
    this.regions = RegionsPlugin.create();
    this.wavesurfer = WaveSurfer.create({
      container,
      media: player.audio,
      peaks: peaks.map((channel) => channel.flatMap(([low, high]) => [high / 128, low / 128])),
      duration: player.duration,
      cspNonce: this.nonce,
      dragToSeek: true,
      plugins: [
        this.regions,
        TimelinePlugin.create({ height: 24, formatTimeCallback: clock, secondaryLabelOpacity: 1 }),
      ],
      ...this.options(channels),
    });
    this.wavesurfer.on("interaction", () => player.update());
    this.regions.on("region-clicked", (region, event) => {
      if (region.start !== region.end) return; // in a pause, the click means the position
      event.stopPropagation();
      player.seek(region.start);
    });
    this.wavesurfer.once("ready", () => this.ready(channels));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.wavesurfer.setOptions(this.options(channels));
    });
  }

  options(channels) {
    const colours = { waveColor: colour("--wave"), progressColor: colour("--accent"), cursorColor: colour("--text") };
    const lane = { ...colours, height: LANE_HEIGHT };
    return { ...lane, cursorWidth: 2, splitChannels: channels > 1 ? Array.from({ length: channels }, () => lane) : undefined };
  }

  ready(channels) {
    const { container, player, status } = this;
    status.textContent = "";
    if (channels > 1) {
      const lanes = { caller: player.text("side_caller"), callee: player.text("side_callee") };
      for (const [side, name] of Object.entries(lanes)) {
        const label = document.createElement("span");
        label.className = `lane ${side}`;
        label.textContent = name;
        container.append(label);
      }
    }
    container.tabIndex = 0;
    container.setAttribute("role", "slider");
    container.setAttribute("aria-label", player.text("waveform"));
    container.setAttribute("aria-describedby", "keys");
    container.setAttribute("aria-valuemin", "0");
    container.setAttribute("aria-valuemax", player.duration.toFixed(1));
    this.describePosition(player.position, player.find("position").textContent);
    this.drawn = true;
    if (player.position) this.setPosition(player.position);
    this.markPauses();
    this.markEvents();
  }

  markPauses() {
    for (const [start, end] of this.player.pauses) {
      const seconds = (end - start).toFixed(1).replace(".", this.player.text("decimal_separator"));
      this.mark({ start, end, color: "var(--pause)" }, this.player.text("pause_of", { seconds }));
    }
  }

  // A party may press keys for hours: events that are too close to be distinguished have one marker.
  markEvents() {
    const nearest = MARKER_DISTANCE * this.player.duration / this.container.clientWidth;
    const groups = [];
    for (const event of this.player.events) {
      const last = groups.at(-1);
      if (last && event.position - last.start < nearest) last.titles.push(event);
      else groups.push({ start: event.position, titles: [event] });
    }
    for (const { start, titles } of groups) {
      const flag = document.createElement("span");
      flag.textContent = "▾";
      Object.assign(flag.style, { position: "absolute", left: "-8px", top: "-8px", padding: "0 2px", color: "var(--marker)", cursor: "pointer" });
      const title = titles.map((event) => `${clock(event.position)} ${event.text}`).join("\n");
      this.mark({ start, color: "var(--marker)" }, title).append(flag);
    }
  }

  // Returns the element of a mark. It has no "content" of the plugin, which measures all others for each one.
  mark(options, title) {
    const { element } = this.regions.addRegion({ ...options, drag: false, resize: false });
    element.title = title;
    return element;
  }

  // Sets the position of the player, and shows it; returns false if there is no waveform yet. Before any audio is
  // loaded, the position is the one at which playing will begin, which the audio element does not report.
  setPosition(position) {
    if (!this.drawn) return false;
    this.wavesurfer.setTime(position);
    return true;
  }

  describePosition(position, words) {
    if (this.container.getAttribute("role") !== "slider") return;
    this.container.setAttribute("aria-valuenow", position.toFixed(1));
    this.container.setAttribute("aria-valuetext", words);
  }
}
