// Events of the server, for pages that are kept up to date. EventSource connects again after a lost connection, but not
// after an error status, for example of a reverse proxy while voxrec is restarted.

import { checkSession } from "./session.js";

const RETRY = 5000; // milliseconds

// Calls the listeners, which are given by the type of event ("open" and "error" as well), until the session ends or the
// returned function is called.
export function subscribe(url, listeners) {
  let source = null;
  let timer;
  let stopped = false;

  function connect() {
    source = new EventSource(url);
    for (const [type, listener] of Object.entries(listeners)) source.addEventListener(type, listener);
    source.addEventListener("error", async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      if (await checkSession() && !stopped) timer = setTimeout(connect, RETRY);
    });
  }

  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    source.close();
  };
}
