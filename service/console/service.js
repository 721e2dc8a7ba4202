// Calls of the service, and what to tell of one that fails. Paths are relative, so that a prefix changes nothing.

import { askForKey, keyHeaders } from "./key.js";

const PATIENCE_MS = 30_000;
const LATER = "Try again in a moment.";

/**
 * A failure for people: what happened, what to do about it, and the request's name in the log, if it has one. `facts`:
 * the status of the answer, and the fields that it finds fault with.
 */
export class Problem extends Error {
  constructor(title, remedy, requestId = "", facts = {}) {
    super(title);
    Object.assign(this, { remedy, requestId, ...facts });
  }
}

export async function call(path, { signal, headers, ...options } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let response;
  try {
    const either = signal ? AbortSignal.any([signal, patience]) : patience;
    response = await fetch(path, { ...options, headers: { ...headers, ...keyHeaders() }, signal: either });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service does not answer", `It may be restarting, or the network is down. ${LATER}`);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const { title, detail, request_id: requestId, status, errors } = answer ?? {};
  if (response.status === 401 && title && (await askForKey(title))) return call(path, { signal, headers, ...options });
  if (title) throw new Problem(title, detail && detail !== title ? detail : LATER, requestId, { status, errors });
  throw new Problem(
    `The answer, with status ${response.status}, is not the service's`,
    `Something between this page and the service answered in its place. ${LATER}`,
  );
}

const sending = (method) => (path, body, signal) =>
  call(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export const post = sending("POST");
export const put = sending("PUT");

export const pathOf = (...parts) => parts.map(encodeURIComponent).join("/");

/** Calls of which only the latest counts: a new one aborts the one before. */
export class Latest {
  #controller = new AbortController();

  abort() {
    this.#controller.abort();
    this.#controller = new AbortController();
  }

  async run(task) {
    this.abort();
    const { signal } = this.#controller;
    try {
      return await task(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      return null;
    }
  }
}
