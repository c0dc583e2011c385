// One recording: the player, the verification of the file, and the changes of its state while it is live.

import { localizeTimes } from "./console.js";
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

// Replaces what has changed, except the player and what the user is using.
function replace(current, next) {
  const html = next.outerHTML;
  if (shown.get(next.dataset.live) === html || current.contains(document.activeElement)) return;
  if (current.querySelector("#player") && next.querySelector("#player")) return;
  shown.set(next.dataset.live, html);
  const open = [...current.querySelectorAll("details")].map((details) => details.open);
  document.adoptNode(next);
  localizeTimes(next);
  const details = [...next.querySelectorAll("details")];
  if (details.length === open.length) details.forEach((each, index) => { each.open = open[index]; });
  current.replaceWith(next);
}

// Fetches the page again, and returns whether anything is still expected to change.
async function refresh() {
  const response = await fetch(`/console/recordings/${page.dataset.id}/changes${location.search}`).catch(() => null);
  if (response?.redirected) return void sessionEnded();
  if (response?.status === 404) return void (live.textContent = text("recording_deleted"));
  if (!response?.ok) {
    live.textContent = text("live_lost");
    return true;
  }
  const before = part("state").dataset.state;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
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
  const events = new EventSource(`/events?type=${types}`);
  let refreshing = Promise.resolve();
  const update = () => {
    refreshing = refreshing.then(refresh).then(() => {
      if (!("unfinished" in part("state").dataset)) {
        events.close();
        watchDeliveries();
      }
    });
  };
  events.addEventListener("open", update);
  events.addEventListener("error", () => { live.textContent = text("live_lost"); });
  for (const type of types) {
    events.addEventListener(type, (event) => {
      if (JSON.parse(event.data).data.id === page.dataset.id) update();
    });
  }
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
