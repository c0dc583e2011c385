// Live calls: the table is fetched again when the server reports an event of a call or a recording.

import { localizeTimes } from "./console.js";
import { checkSession, sessionEnded } from "./session.js";

const table = document.getElementById("calls");
const connection = document.getElementById("connection");
const WITHOUT_EVENT = ".state.connecting, .state.announcing, .state.clearing"; // no event says that such a state ends
let timer;
let refreshing = false;
let changed = false;

async function refresh() {
  changed = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (changed) {
      changed = false;
      const response = await fetch("/console/calls/table").catch(() => null);
      if (response?.redirected) return sessionEnded();
      if (!response?.ok) return void (connection.textContent = connection.dataset.lost);
      connection.textContent = "";
      const focused = table.contains(document.activeElement) && document.activeElement.closest("form")?.action;
      const listen = table.contains(document.activeElement) && document.activeElement.dataset.listen;
      table.innerHTML = await response.text();
      localizeTimes(table);
      clearTimeout(timer);
      if (table.querySelector(WITHOUT_EVENT)) timer = setTimeout(refresh, 1000);
      if (focused) table.querySelector(`form[action="${new URL(focused).pathname}"] button`)?.focus();
      if (listen) table.querySelector(`[data-listen="${listen}"]`)?.focus();
      await new Promise((resolve) => setTimeout(resolve, 250)); // at most four times a second
    }
  } finally {
    refreshing = false;
  }
}

const events = new EventSource("/events");
events.addEventListener("open", () => { connection.textContent = ""; refresh(); });
events.addEventListener("error", () => {
  connection.textContent = connection.dataset.lost;
  if (events.readyState === EventSource.CLOSED) checkSession(); // the server has refused it
});
for (const type of document.getElementById("calls").dataset.events.split(",")) events.addEventListener(type, refresh);
