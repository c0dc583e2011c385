// Pages that are left open: a warning before the session ends, and a message when it has ended, or when another user has
// signed in in this browser. Asking is no use of the session.

import { focusOn } from "./focus.js";

const ADDRESS = "/console/session";
const WARNING = 120; // seconds before the end of the session
const INTERVAL = 60; // seconds between two checks, which also notice that the session was ended elsewhere
const banner = document.getElementById("session");
let timer;
let before = null; // what had the focus before a control of the banner

function show(text, action) {
  if (banner.firstChild?.textContent === text) return; // screen readers would read it again
  const hadFocus = banner.contains(document.activeElement);
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  banner.replaceChildren(paragraph, action);
  banner.hidden = false;
  if (hadFocus) action.focus();
}

function hide() {
  const hadFocus = banner.contains(document.activeElement);
  banner.hidden = true;
  banner.replaceChildren();
  if (hadFocus) focusOn(before?.isConnected ? before : document.getElementById("main"));
}

// Says something that remains until the user follows the link.
function refer(text, words, url) {
  const link = document.createElement("a");
  link.className = "button";
  link.href = url;
  link.textContent = words;
  show(text, link);
}

function schedule(seconds) {
  clearTimeout(timer);
  timer = setTimeout(checkSession, seconds * 1000);
}

export function sessionEnded() {
  if (!banner) return;
  clearTimeout(timer);
  const { ended, signIn } = banner.dataset;
  refer(ended, signIn, `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

function warn(seconds, idle) {
  const text = (idle ? banner.dataset.warning : banner.dataset.limit).replace("{minutes}", Math.ceil(seconds / 60));
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = banner.dataset.stay;
  button.hidden = !idle;
  button.addEventListener("click", () => checkSession("POST"));
  show(text, button);
}

// Returns whether the session lasts, as far as is known.
export async function checkSession(method = "GET") {
  const response = await fetch(ADDRESS, { method, redirect: "manual" }).catch(() => null);
  if (response?.type === "opaqueredirect") {
    sessionEnded();
    return false;
  }
  const remaining = response?.ok ? await response.json().catch(() => null) : null;
  if (remaining === null) {
    schedule(INTERVAL);
  } else if (remaining.user !== banner.dataset.user) {
    refer(banner.dataset.other.replace("{name}", remaining.name), banner.dataset.reload, location.href);
    schedule(INTERVAL);
  } else if (remaining.seconds > WARNING) {
    hide();
    schedule(Math.min(INTERVAL, remaining.seconds - WARNING + 1));
  } else {
    warn(remaining.seconds, remaining.idle);
    schedule(Math.min(INTERVAL, remaining.seconds + 1));
  }
  return true;
}

if (banner) {
  schedule(0);
  banner.addEventListener("focusin", ({ relatedTarget }) => {
    if (!banner.contains(relatedTarget)) before = relatedTarget;
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) schedule(0); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) schedule(0); }); // from the back/forward cache
}
