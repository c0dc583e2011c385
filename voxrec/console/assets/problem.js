// Errors of the REST API.

// Returns what the problem document (RFC 9457) of a response says, or the status.
export async function problemOf(response) {
  const document = await response.json().catch(() => ({}));
  return document.detail ?? `${response.status} ${response.statusText}`;
}
