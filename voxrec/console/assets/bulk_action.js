// A bulk action in progress: its parts are fetched again until it has ended, which is then announced.

import { localizeTimes } from "./console.js";
import { keepFocus } from "./focus.js";
import { sessionEnded } from "./session.js";

const INTERVAL = 2000; // milliseconds
const page = document.getElementById("bulk-action");
const parts = (root) => [...root.querySelectorAll("[data-part]")];

function show(next) {
  const fresh = parts(next);
  for (const current of parts(page)) {
    const { childNodes } = fresh.find((each) => each.dataset.part === current.dataset.part);
    keepFocus(current, () => {
      current.replaceChildren(...childNodes);
      localizeTimes(current);
    });
  }
}

async function refresh() {
  const response = await fetch(page.dataset.progress).catch(() => null);
  if (response?.redirected) return sessionEnded();
  const html = response?.ok ? await response.text().catch(() => null) : null;
  if (html !== null) {
    const next = new DOMParser().parseFromString(html, "text/html").getElementById("bulk-action");
    show(next);
    if (!("progress" in next.dataset)) {
      document.getElementById("bulk-ended").textContent = document.getElementById("bulk-state").textContent;
      return;
    }
  }
  setTimeout(refresh, INTERVAL);
}

setTimeout(refresh, INTERVAL);
