// Live listening: the audio of one call (GET /calls/<id>/audio, a WAV stream without end), played by an AudioWorklet.

import { focusOn } from "./focus.js";
import { problemOf } from "./problem.js";

const panel = document.getElementById("listening");
const title = document.getElementById("listening-title");
const state = document.getElementById("listening-state");
const side = document.getElementById("listening-side");
const texts = panel.dataset;
const meters = { caller: document.getElementById("level-caller"), callee: document.getElementById("level-callee") };
const HEADER = 44; // bytes
let listening = null; // the AbortController, the AudioContext and the node of the present listening

function showLevels({ caller, callee }) {
  for (const [name, peak] of Object.entries({ caller, callee })) {
    meters[name].value = peak > 0 ? Math.max(-60, 20 * Math.log10(peak)) : -60;
  }
}

function release(one) {
  one.abort.abort();
  one.node?.port.postMessage({ end: true });
  one.context?.close();
  if (listening === one) listening = null;
  showLevels({ caller: 0, callee: 0 });
}

function stop() {
  const one = listening;
  if (one !== null) release(one);
  panel.hidden = true;
  if (one !== null) focusOn(document.querySelector(`[data-listen="${one.call}"]`) ?? document.getElementById("calls"));
}

async function open(one, header) {
  const fields = new DataView(header.buffer, header.byteOffset, HEADER);
  one.context = new AudioContext({ sampleRate: fields.getUint32(24, true) });
  await one.context.audioWorklet.addModule("/console/assets/listen-worklet.js");
  one.node = new AudioWorkletNode(one.context, "live-call", { numberOfInputs: 0, outputChannelCount: [2] });
  one.node.port.onmessage = ({ data }) => { if (listening === one) showLevels(data); };
  one.node.port.postMessage({ side: side.value });
  one.node.connect(one.context.destination);
  await one.context.resume();
}

async function play(one) {
  const response = await fetch(`/calls/${one.call}/audio`, { signal: one.abort.signal, headers: { Accept: "audio/wav" } });
  if (!response.ok) throw new Error(await problemOf(response));
  let rest = new Uint8Array(0);
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest);
    bytes.set(value, rest.length);
    let start = 0;
    if (!one.node) {
      if (bytes.length < HEADER) { rest = bytes; continue; }
      await open(one, bytes);
      state.textContent = texts.heard;
      start = HEADER;
    }
    const end = bytes.length - ((bytes.length - start) % 4); // two samples of two bytes
    const samples = new Int16Array(bytes.slice(start, end).buffer);
    one.node.port.postMessage({ samples }, [samples.buffer]);
    rest = bytes.slice(end);
  }
}

async function start(button) {
  stop();
  const one = listening = { call: button.dataset.listen, abort: new AbortController() };
  title.textContent = button.getAttribute("aria-label");
  state.textContent = texts.connecting;
  panel.hidden = false;
  document.getElementById("listening-stop").focus();
  let outcome = texts.ended;
  try {
    await play(one);
  } catch (error) {
    outcome = error instanceof TypeError ? texts.lost : error.message; // fetch reports network errors as TypeError
  }
  if (listening === one) { // else the user has stopped it
    release(one);
    state.textContent = outcome;
  }
}

document.documentElement.classList.add("can-listen");
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-listen]");
  if (button) start(button);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) stop(); });
document.getElementById("listening-stop").addEventListener("click", stop);
side.addEventListener("change", () => listening?.node?.port.postMessage({ side: side.value }));
