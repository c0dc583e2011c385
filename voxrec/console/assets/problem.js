// Errors of the REST API, in the language of the page: the server knows the texts of the codes.

const TEXT = "/console/problem-text";

// Returns why the server has refused a request: what the problem document (RFC 9457) of the response says, or the status.
export async function problemOf(response) {
  const isJson = /^application\/(problem\+)?json/.test(response.headers.get("Content-Type"));
  const document = isJson ? await response.json().catch(() => null) : null;
  return await textOf(document) || document?.detail || `${response.status} ${response.statusText}`;
}

async function textOf(document) {
  if (!document) return "";
  const options = { method: "POST", body: JSON.stringify(document), headers: { "Content-Type": "application/json" } };
  const response = await fetch(TEXT, options).catch(() => null);
  return response?.ok ? response.text() : "";
}
