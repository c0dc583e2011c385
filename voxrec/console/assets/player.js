// One recording: a waveform for each party, which follows the player of the browser, and jumps in the timeline.

import WaveSurfer from "./wavesurfer.esm.js";

const audio = document.getElementById("audio");
const container = document.getElementById("waveform");
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();

async function draw() {
  const response = await fetch(container.dataset.peaks);
  if (!response.ok) return;
  const { channels, peaks } = await response.json();
  if (audio.readyState < HTMLMediaElement.HAVE_METADATA) {
    await new Promise((resolve) => audio.addEventListener("loadedmetadata", resolve, { once: true }));
  }
  const options = { waveColor: colour("--muted"), progressColor: colour("--accent"), height: 128 / channels };
  WaveSurfer.create({
    container,
    media: audio,
    peaks: peaks.map((channel) => channel.flatMap(([low, high]) => [high / 128, low / 128])),
    duration: audio.duration,
    cspNonce: container.dataset.nonce,
    splitChannels: channels > 1 ? Array.from({ length: channels }, () => options) : undefined,
    ...options,
  });
}

draw();
document.getElementById("speed").addEventListener("change", (event) => { audio.playbackRate = event.target.value; });
for (const button of document.querySelectorAll("[data-seek]")) {
  button.addEventListener("click", () => { audio.currentTime += Number(button.dataset.seek); });
}
for (const button of document.querySelectorAll("[data-take-position]")) {
  button.addEventListener("click", () => { button.form.elements.position.value = audio.currentTime.toFixed(2); });
}
for (const button of document.querySelectorAll("[data-position]")) {
  button.addEventListener("click", () => { audio.currentTime = Number(button.dataset.position); audio.play(); });
}
