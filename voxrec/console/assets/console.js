// Every page: the end of the session, times in the viewer's time zone, and the offset of that zone in the filter by days.

import "./session.js";

const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });

export function localizeTimes(root) {
  for (const element of root.querySelectorAll("time")) {
    element.title = element.textContent;
    element.textContent = format.format(new Date(element.dateTime));
  }
}

localizeTimes(document);
document.cookie = `voxrec_utc_offset=${-new Date().getTimezoneOffset()}; Path=/console; SameSite=Lax`;
for (const input of document.querySelectorAll("[data-utc-offset]")) {
  input.value = -new Date().getTimezoneOffset();
}
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
      button.textContent = button.dataset.done;
    });
  }
}
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
