// Client of the farm's HTTP API: JSON requests and responses, every failure as a Problem with a message for the user.

export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail, errors = [], retryAfter = null }) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.errors = errors; // [{field, message}]
    this.retryAfter = retryAfter; // seconds
  }

  get isTransient() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

export function unreachable() {
  return new Problem({ detail: "The farm does not answer. Is it still running?" });
}

const LABEL = { "X-Client-Label": "web" };

// Fired when the farm requires a key and this browser has no valid one.
export const SIGNED_OUT = "imagefarm:signed-out";

export async function readSession() {
  return call("GET", "v1/session");
}

export async function signIn(key) {
  return call("POST", "v1/session", { body: { key } });
}

export async function signOut() {
  return call("DELETE", "v1/session");
}

export async function listModels() {
  return (await call("GET", "v1/models")).data;
}

export async function listJobs({ cursor = null, limit = 24 } = {}) {
  const query = new URLSearchParams({ limit });
  if (cursor) query.set("cursor", cursor);
  return call("GET", `v1/jobs?${query}`);
}

export async function readJob(id) {
  return call("GET", `v1/jobs/${encodeURIComponent(id)}`);
}

// Safe to repeat: the Idempotency-Key prevents a second job, so a request without a response is sent again.
export async function submitJob(request) {
  const headers = { "Idempotency-Key": randomKey() };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call("POST", "v1/jobs", { body: request, headers });
    } catch (error) {
      if (!error.isTransient || attempt === 2) throw error;
      await new Promise((wake) => setTimeout(wake, 400 * 2 ** attempt));
    }
  }
}

export async function cancelJob(id) {
  return call("POST", `v1/jobs/${encodeURIComponent(id)}/cancel`);
}

export async function retryJob(id) {
  return call("POST", `v1/jobs/${encodeURIComponent(id)}/retry`);
}

// Relative to the page, which a proxy may serve under any path; the farm's own links need a setting to know that path.
export function contentUrl(output) {
  return `v1/images/${encodeURIComponent(output.id)}/content`;
}

export function thumbnailUrl(output) {
  return `v1/images/${encodeURIComponent(output.id)}/thumbnail`;
}

async function call(method, url, { body, headers = {} } = {}) {
  const options = { method, headers: { Accept: "application/json", ...LABEL, ...headers }, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw unreachable();
  }
  const parsed = await response.json().catch(() => null);
  if (response.status === 401 && url !== "v1/session") window.dispatchEvent(new Event(SIGNED_OUT));
  if (!response.ok) throw problemFrom(response, parsed);
  return parsed;
}

function problemFrom(response, body) {
  return new Problem({
    status: response.status,
    code: body?.code ?? "internal",
    detail: body?.detail ?? `The farm answered ${response.status} ${response.statusText}.`,
    errors: body?.errors ?? [],
    retryAfter: body?.retry_after_seconds ?? null,
  });
}

// crypto.randomUUID exists only on https and localhost, not for a farm on a local network.
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
