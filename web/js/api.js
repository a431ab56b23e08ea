// The farm's HTTP interface: JSON in and out, every failure as a Problem that says what to do.

export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail, errors = [], retryAfter = null }) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.errors = errors; // [{field, message}]
    this.retryAfter = retryAfter; // seconds
  }

  get mayPass() {
    return this.status === 0 || this.status === 503 || this.status === 502 || this.status === 504;
  }
}

const LABEL = { "X-Client-Label": "web" };

export async function listModels() {
  return (await call("GET", "v1/models")).body.data;
}

export async function listJobs({ cursor = null, limit = 24 } = {}) {
  const query = new URLSearchParams({ limit });
  if (cursor) query.set("cursor", cursor);
  return (await call("GET", `v1/jobs?${query}`)).body;
}

// The job and its tag; `job` is null when nothing changed since `etag`. With `wait` the farm answers at the next change.
export async function readJob(id, { etag = null, wait = 0, signal } = {}) {
  const headers = etag ? { "If-None-Match": etag } : {};
  const query = wait ? `?wait=${wait}` : "";
  const answer = await call("GET", `v1/jobs/${encodeURIComponent(id)}${query}`, { headers, signal });
  return { job: answer.status === 304 ? null : answer.body, etag: answer.etag ?? etag };
}

// Safe to repeat: the key makes a second delivery of the same submission harmless, so a lost answer is asked for again.
export async function submitJob(request) {
  const headers = { "Idempotency-Key": randomKey() };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return (await call("POST", "v1/jobs", { body: request, headers })).body;
    } catch (error) {
      if (!error.mayPass || attempt === 2) throw error;
      await new Promise((wake) => setTimeout(wake, 400 * 2 ** attempt));
    }
  }
}

export async function cancelJob(id) {
  return (await call("POST", `v1/jobs/${encodeURIComponent(id)}/cancel`)).body;
}

export async function retryJob(id) {
  return (await call("POST", `v1/jobs/${encodeURIComponent(id)}/retry`)).body;
}

async function call(method, url, { body, headers = {}, signal } = {}) {
  const options = { method, headers: { Accept: "application/json", ...LABEL, ...headers }, signal, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "The farm does not answer. Is it still running?" });
  }
  if (response.status === 304) return { status: 304, body: null, etag: response.headers.get("ETag") };
  const parsed = await response.json().catch(() => null);
  if (!response.ok) throw problemFrom(response, parsed);
  return { status: response.status, body: parsed, etag: response.headers.get("ETag") };
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

// crypto.randomUUID exists only on https and localhost; a farm on a home network is neither.
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
