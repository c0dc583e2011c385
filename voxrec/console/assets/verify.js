// The verification of the stored file: it is downloaded, and its SHA-256 is compared with the stored one.

import "./sha256.js"; // for large files, and without HTTPS: Web Crypto hashes only what is in memory, in secure contexts
import { problemOf } from "./problem.js";

const MAX_IN_MEMORY = 64e6; // bytes
const MAX_TASK = 30; // milliseconds

export function offerVerification(root, text) {
  const find = (id) => root.querySelector(`#verify-${id}`);
  const { url, sha256: expected } = root.dataset;
  const size = Number(root.dataset.size);
  let controller = null;

  function show(words, classes = "") {
    find("result").textContent = words;
    find("result").className = classes;
  }

  function progress(received) {
    find("progress").value = received / size;
  }

  async function verify() {
    controller = new AbortController();
    try {
      const response = await fetch(url, { signal: controller.signal, cache: "no-store" });
      if (!response.ok) throw new Error(await problemOf(response));
      const digest = await hash(response.body, size, progress);
      if (digest === expected) show(text("verify_ok"), "done");
      else show(text("verify_differs", { sha256: digest }), "warning");
    } catch (error) {
      if (error.name === "AbortError") show(text("cancelled"));
      else show(text("verify_failed", { problem: error.message }), "warning");
    } finally {
      toggle(false);
    }
  }

  function toggle(running) {
    const hasFocus = root.contains(document.activeElement); // the user may do something else meanwhile
    find("start").hidden = running;
    for (const id of ["cancel", "progress"]) find(id).hidden = !running;
    if (hasFocus) find(running ? "cancel" : "start").focus();
  }

  root.hidden = false;
  find("start").addEventListener("click", () => {
    find("result").textContent = "";
    find("result").className = "";
    toggle(true);
    verify();
  });
  find("cancel").addEventListener("click", () => controller.abort());
}

// Returns the SHA-256 of a stream as hexadecimal digits.
async function hash(stream, size, progress) {
  return crypto.subtle && size <= MAX_IN_MEMORY ? hashInMemory(stream, progress) : hashStream(stream, progress);
}

async function hashInMemory(stream, progress) {
  const chunks = [];
  for await (const chunk of received(stream, progress)) chunks.push(chunk);
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(chunks).arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function hashStream(stream, progress) {
  const digest = window.sha256.create();
  for await (const chunk of received(stream, progress)) digest.update(chunk);
  return digest.hex();
}

// Yields the chunks of a stream, and lets the page react in between.
async function* received(stream, progress) {
  const reader = stream.getReader();
  let total = 0;
  let taskStart = performance.now();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    yield value;
    total += value.length;
    progress(total);
    if (performance.now() - taskStart > MAX_TASK) {
      await new Promise((resolve) => setTimeout(resolve));
      taskStart = performance.now();
    }
  }
}
