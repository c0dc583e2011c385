// The form of a Profile: hear the chosen announcement, and add one from a file or from the microphone by REST.

import { problemOf } from "./problem.js";
import { Recorder, canRecord } from "./recorder.js";

const MAX_SECONDS = 300; // what is recorded stays below the limit for uploads, 10 MiB
const byId = (id) => document.getElementById(id);
const [choice, chosen, chosenAudio] = [byId("recordPrompt"), byId("recordPromptCustomId"), byId("prompt-chosen")];
const [panel, name, file, preview, status] = ["new", "name", "file", "preview", "status"].map((id) => byId(`prompt-${id}`));
const [record, stop, save] = ["record", "stop", "save"].map((id) => byId(`prompt-${id}`));
const [level, seconds] = [byId("prompt-level"), byId("prompt-seconds")];
const text = panel.dataset;
let recorder = null;
let audio = null; // the File or Blob to upload

function showChosen() {
  chosenAudio.hidden = !chosen.value;
  if (chosen.value) chosenAudio.src = `/prompts/${chosen.value}/audio`;
  else chosenAudio.removeAttribute("src");
}

function setAudio(blob) {
  audio = blob;
  if (preview.src) URL.revokeObjectURL(preview.src);
  if (blob) preview.src = URL.createObjectURL(blob);
  preview.hidden = save.disabled = !blob;
}

function showRecording(isRecording) {
  record.hidden = isRecording;
  byId("prompt-recording").hidden = !isRecording;
  file.disabled = isRecording;
}

function explain(error) {
  return { NotAllowedError: text.refused, NotFoundError: text.missing }[error.name] ?? `${error.name}: ${error.message}`;
}

async function startRecording() {
  record.disabled = true;
  status.textContent = "";
  try {
    recorder = await Recorder.start((peak, length) => {
      level.value = peak;
      seconds.textContent = `${Math.floor(length / 60)}:${String(Math.floor(length % 60)).padStart(2, "0")}`;
      if (length >= MAX_SECONDS) stopRecording();
    });
    setAudio(null);
    file.value = "";
    showRecording(true);
    stop.focus();
  } catch (error) {
    status.textContent = explain(error);
  } finally {
    record.disabled = false;
  }
}

async function stopRecording() {
  if (!recorder) return;
  const stopped = recorder;
  recorder = null;
  let blob = null;
  try {
    blob = await stopped.stop();
    if (!blob) status.textContent = text.missing;
  } catch (error) {
    status.textContent = explain(error);
  }
  showRecording(false);
  setAudio(blob);
  (blob ? preview : record).focus();
}

/** Send a request, and return the document of the response. Throws an Error with what REST says. */
async function send(method, path, body, contentType) {
  const response = await fetch(path, { method, body, headers: { "Content-Type": contentType } });
  if (!response.ok) throw new Error(await problemOf(response));
  return response.json().catch(() => ({})); // the audio of an announcement has no document
}

async function upload() {
  save.disabled = record.disabled = true;
  status.textContent = text.uploading;
  try {
    const label = name.value.trim() || audio.name?.replace(/\.\w+$/, "") || text.unnamed;
    const prompt = await send("PUT", "/prompts", JSON.stringify({ name: label }), "application/json");
    try {
      const type = audio.type.startsWith("audio/") ? audio.type : "application/octet-stream";
      await send("PUT", `/prompts/${prompt.id}/audio`, audio, type);
    } catch (error) {
      await fetch(`/prompts/${prompt.id}`, { method: "DELETE" }).catch(() => {}); // a Prompt without audio is of no use
      throw error;
    }
    chosen.add(new Option(label, prompt.id, true, true));
    choice.value = "custom";
    showChosen();
    setAudio(null);
    name.value = file.value = "";
    status.textContent = text.saved;
  } catch (error) {
    status.textContent = `${text.failed} ${error.message}`;
    save.disabled = false;
  } finally {
    record.disabled = !canRecord();
  }
}

panel.hidden = false;
record.disabled = !canRecord();
if (record.disabled) status.textContent = text.insecure;
record.addEventListener("click", startRecording);
stop.addEventListener("click", stopRecording);
save.addEventListener("click", upload);
file.addEventListener("change", () => setAudio(file.files[0] ?? null));
name.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); }); // not the Profile's form
chosen.addEventListener("change", showChosen);
showChosen();
