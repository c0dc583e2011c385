// Errors of the REST API, in the language of the page.

const TEXTS = "/console/error-texts";
let texts; // a promise of the texts by code

function loadTexts() {
  texts ??= fetch(TEXTS).then((response) => response.ok ? response.json() : {}).catch(() => ({}));
  return texts;
}

// Returns a text with its parameters; undefined if there is none, or if one of its parameters is missing.
function render(text, params = {}) {
  if (typeof text !== "string") return undefined;
  const names = [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
  if (names.some((name) => !(name in params))) return undefined;
  return text.replace(/\{(\w+)\}/g, (_, name) => [params[name]].flat().join(", "));
}

// Returns why the server has refused a request: what the problem document (RFC 9457) of the response says, or the status.
export async function problemOf(response) {
  const isJson = /^application\/(problem\+)?json/.test(response.headers.get("Content-Type"));
  const document = isJson ? await response.json().catch(() => ({})) : {};
  const { codes = {}, reasons = {}, fields = {} } = await loadTexts();
  const errors = (document.errors ?? []).map(({ code, params, message }) => render(fields[code], params) ?? message);
  return errors.join(" ")
    || render(reasons[document.reason], document.params)
    || render(codes[document.code], document.params)
    || document.detail
    || `${response.status} ${response.statusText}`;
}
