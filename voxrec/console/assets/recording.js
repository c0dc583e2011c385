// One recording: the player, the verification of the file, and the changes of its state while it is live.

import { localizeTimes } from "./console.js";
import { subscribe } from "./events.js";
import { Player } from "./player.js";
import { sessionEnded } from "./session.js";
import { offerVerification } from "./verify.js";

const DELIVERY_INTERVAL = 3000; // milliseconds
const DELIVERY_CHECKS = 40;

const page = document.getElementById("recording");
const live = document.getElementById("live");
const texts = JSON.parse(page.dataset.texts);
const shown = new Map(); // HTML of the parts of the page, as the server has sent them last
let player = null;

function text(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const part = (name, root = page) => root.querySelector(`[data-live="${name}"]`);

function start() {
  const section = document.getElementById("player");
  if (section && section !== player?.section) player = new Player(section, page, text);
  const verification = document.getElementById("verify");
  if (verification?.hidden) offerVerification(verification, text);
}

page.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!player || !button) return;
  if (button.dataset.position) player.playFrom(Number(button.dataset.position));
  if ("takePosition" in button.dataset) button.form.elements.position.value = player.position.toFixed(2);
});

// Returns whether the user has the focus in a part of the page, has entered something there (which the server may have
// rejected), or verifies the file.
function inUse(element) {
  const fields = [...element.querySelectorAll("input:not([type=hidden]), textarea")];
  return element.contains(document.activeElement)
    || fields.some((field) => field.value !== field.defaultValue)
    || element.querySelector("[aria-invalid]") !== null
    || element.querySelector("#verify-progress:not([hidden]), #verify-result:not(:empty)") !== null;
}

// Replaces what has changed, except the player and what the user is using.
function replace(current, next) {
  const html = next.outerHTML;
  if (shown.get(next.dataset.live) === html || inUse(current)) return;
  if (current.querySelector("#player") && next.querySelector("#player")) return;
  shown.set(next.dataset.live, html);
  const open = [...current.querySelectorAll("details")].map((details) => details.open);
  document.adoptNode(next);
  localizeTimes(next);
  const details = [...next.querySelectorAll("details")];
  if (details.length === open.length) details.forEach((each, index) => { each.open = open[index]; });
  current.replaceWith(next);
}

// Fetches the page again, and returns whether anything is still expected to change; undefined if it cannot be fetched
// any more, because the session has ended or the recording was deleted.
async function refresh() {
  const response = await fetch(`/console/recordings/${page.dataset.id}/changes${location.search}`).catch(() => null);
  if (response?.redirected) return void sessionEnded();
  if (response?.status === 404) return void (live.textContent = text("recording_deleted"));
  const html = response?.ok ? await response.text().catch(() => null) : null;
  if (html === null) {
    live.textContent = text("live_lost");
    return true;
  }
  const before = part("state").dataset.state;
  const next = new DOMParser().parseFromString(html, "text/html");
  for (const each of next.querySelectorAll("#recording [data-live]")) {
    const current = part(each.dataset.live);
    if (current) replace(current, each);
  }
  start();
  const state = part("state").dataset;
  live.textContent = state.state === before ? "" : text("state_changed", { state: state.stateText });
  return "unfinished" in state || "deliveriesOpen" in state;
}

function watchState() {
  const types = page.dataset.events.split(",");
  let refreshing = Promise.resolve();
  let finished = false;
  const refreshOnce = async () => {
    if (finished) return;
    const expectsChanges = await refresh();
    finished = expectsChanges === undefined || !("unfinished" in part("state").dataset);
    if (!finished) return;
    unsubscribe();
    if (expectsChanges) watchDeliveries();
  };
  const update = () => { refreshing = refreshing.then(refreshOnce); };
  const updateThis = (event) => { if (JSON.parse(event.data).data.id === page.dataset.id) update(); };
  const unsubscribe = subscribe(`/events?type=${types}`, {
    open: update,
    error: () => { live.textContent = text("live_lost"); },
    ...Object.fromEntries(types.map((type) => [type, updateThis])),
  });
}

// Deliveries have no events.
async function watchDeliveries() {
  for (let count = 0; count < DELIVERY_CHECKS && "deliveriesOpen" in part("state").dataset; count += 1) {
    await new Promise((resolve) => setTimeout(resolve, DELIVERY_INTERVAL));
    if (!await refresh()) return;
  }
}

start();
if ("unfinished" in part("state").dataset) watchState();
else watchDeliveries();
