// Live calls: the table is fetched again when the server reports an event of a call or a recording.

import { localizeTimes } from "./console.js";
import { subscribe } from "./events.js";
import { keepFocus } from "./focus.js";
import { sessionEnded } from "./session.js";

const table = document.getElementById("calls");
const connection = document.getElementById("connection");
const WITHOUT_EVENT = ".state.connecting, .state.announcing, .state.clearing"; // no event says that such a state ends
const RETRY = 5000; // milliseconds, after the table could not be fetched
let timer;
let refreshing = false;
let changed = false;

function replaceTable(html) {
  keepFocus(table, () => {
    table.innerHTML = html; // rendered by the server, which has escaped all data
    localizeTimes(table);
  });
  if (table.querySelector(WITHOUT_EVENT)) timer = setTimeout(refresh, 1000);
}

async function refresh() {
  changed = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (changed) {
      changed = false;
      const response = await fetch("/console/calls/table").catch(() => null);
      if (response?.redirected) return sessionEnded();
      const html = response?.ok ? await response.text().catch(() => null) : null;
      clearTimeout(timer);
      if (html === null) {
        connection.textContent = connection.dataset.lost;
        timer = setTimeout(refresh, RETRY);
        return;
      }
      connection.textContent = "";
      if (table.querySelector("button:active, a:active")) changed = true; // a click needs the same button until its release
      else replaceTable(html);
      await new Promise((resolve) => setTimeout(resolve, 250)); // at most four times a second
    }
  } finally {
    refreshing = false;
  }
}

subscribe("/events", {
  open: refresh,
  error: () => { connection.textContent = connection.dataset.lost; },
  ...Object.fromEntries(table.dataset.events.split(",").map((type) => [type, refresh])),
});
