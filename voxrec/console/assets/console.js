// Every page: the end of the session, times in the viewer's time zone, and that zone in the filter by days.

import "./session.js";

const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
const timeZone = format.resolvedOptions().timeZone;

const SENDING = 30_000; // milliseconds; a user who has waited that long, or has stopped the request, can send the form again
const sending = new Set(); // forms

export function localizeTimes(root) {
  for (const element of root.querySelectorAll("time")) {
    element.title = element.textContent;
    element.textContent = format.format(new Date(element.dateTime));
  }
}

localizeTimes(document);
const footer = document.getElementById("time-zone");
if (footer) {
  const zone = timeZone.replaceAll("_", " ");
  const offset = new Intl.DateTimeFormat(document.documentElement.lang, { timeZoneName: "shortOffset" })
    .formatToParts().find((part) => part.type === "timeZoneName").value;
  footer.textContent = footer.dataset.text.replace("{zone}", zone === offset ? zone : `${zone} (${offset})`);
}
// What was done is said in the part of the page where the user is, and is not repeated after a reload.
const done = document.getElementById("done");
if (done) {
  const address = new URL(location.href);
  const target = document.getElementById(address.hash.slice(1));
  address.searchParams.delete("done");
  address.hash = ""; // which would take the focus when the page is complete
  history.replaceState(history.state, "", address);
  if (target) {
    (target.closest("section") ?? target).before(done);
    done.focus();
  }
}
document.cookie = `voxrec_time_zone=${timeZone}; Path=/console; SameSite=Lax`;
for (const input of document.querySelectorAll("[data-time-zone]")) {
  input.value = timeZone;
}
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const field = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(field.value);
        button.textContent = button.dataset.done;
      } catch { // the browser does not permit it: the user copies the selection
        field.select();
      }
    });
  }
}
// A second click while a form is being sent must not send it twice, for example not create two links.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (sending.has(form)) {
    event.preventDefault();
    return;
  }
  sending.add(form);
  setTimeout(() => sending.delete(form), SENDING);
});
// Tabs share the session: the server notices when the page is of another user than the one who is signed in now.
const viewer = document.getElementById("session")?.dataset.user;
document.addEventListener("formdata", ({ target, formData }) => {
  if (viewer && target.method === "post" && target.closest("main")) formData.set("_user", viewer);
});
window.addEventListener("pageshow", () => sending.clear()); // also when it comes from the back/forward cache
for (const form of document.querySelectorAll("form[data-busy]")) {
  form.addEventListener("submit", () => {
    const status = document.getElementById(form.dataset.busy);
    status.textContent = status.dataset.text;
  });
}
for (const all of document.querySelectorAll("[data-choose-all]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`input[name="${all.dataset.chooseAll}"]`)) {
      box.checked = all.checked;
    }
  });
}
