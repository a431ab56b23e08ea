// Client of the farm's HTTP API: JSON requests and responses, every failure as a Problem with a message for the user.

import {said, t} from "./text.js";

export class Problem extends Error {
	constructor({status = 0, code = "unreachable", detail, errors = [], retryAfter = null}) {
		super(said(detail, code));
		this.name = "Problem";
		this.status = status;
		this.code = code;
		this.errors = errors.map(({field, message}) => ({field, message: said(message)}));
		this.retryAfter = retryAfter; // seconds
	}

	get isTransient() {
		return [0, 502, 503, 504].includes(this.status);
	}
}

export function unreachable() {
	return new Problem({detail: t("farm.unreachable")});
}

const LABEL = {"X-Client-Label": "web"};

// Fired when the farm requires a key and this browser has no valid one.
export const SIGNED_OUT = "imagefarm:signed-out";

const id = encodeURIComponent;

export const get = (url, values = {}) => call("GET", withQuery(url, values));
export const post = (url, body) => call("POST", url, {body});
export const patch = (url, body) => call("PATCH", url, {body});
export const remove = url => call("DELETE", url);

export const readChoices = () => get("v1/choices");
export const listModels = async () => (await get("v1/models")).data;
export const listJobs = ({cursor = null, limit = 24, ...more} = {}) => get("v1/jobs", {cursor, limit, ...more});
export const readJob = job => get(`v1/jobs/${id(job)}`);
export const cancelJob = job => post(`v1/jobs/${id(job)}/cancel`);
export const retryJob = job => post(`v1/jobs/${id(job)}/retry`);
export const readImage = image => get(`v1/images/${id(image)}`);
export const rateImage = (image, rating) => patch(`v1/images/${id(image)}`, {rating});

// Safe to repeat: the Idempotency-Key prevents a second job, so a request without a response is sent again.
export async function submit(url, request) {
	const headers = {"Idempotency-Key": randomKey()};
	for (let attempt = 0; ; attempt += 1) {
		try {
			return await call("POST", url, {body: request, headers});
		} catch (error) {
			if (!error.isTransient || attempt === 2) throw error;
			await new Promise(wake => setTimeout(wake, 400 * 2 ** attempt));
		}
	}
}

export const submitJob = request => submit("v1/jobs", request);

export async function upload(blob) {
	return call("POST", "v1/uploads", {raw: blob});
}

export async function readParameters(blob) {
	return call("POST", "v1/parameters", {raw: blob});
}

// Relative to the page, which a proxy may serve under any path; the farm's own links need a setting to know that path.
export function contentUrl(image) {
	return `v1/images/${id(image.id ?? image)}/content`;
}

export function thumbnailUrl(image, size = null) {
	return `v1/images/${id(image.id ?? image)}/thumbnail${size ? `?size=${size}` : ""}`;
}

export function withQuery(url, values) {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) {
		if (value === null || value === undefined || value === "") continue;
		for (const each of [value].flat()) query.append(name, each);
	}
	return query.size ? `${url}?${query}` : url;
}

async function call(method, url, {body, raw, headers = {}} = {}) {
	const options = {method, headers: {Accept: "application/json", ...LABEL, ...headers}, cache: "no-store"};
	if (raw !== undefined) {
		options.body = raw;
		options.headers["Content-Type"] = raw.type || "image/png";
	} else if (body !== undefined) {
		options.body = JSON.stringify(body);
		options.headers["Content-Type"] = "application/json";
	}
	let response;
	try {
		response = await fetch(url, options);
	} catch {
		throw unreachable();
	}
	const parsed = response.status === 204 ? null : await response.json().catch(() => null);
	if (response.status === 401 && url !== "v1/session") window.dispatchEvent(new Event(SIGNED_OUT));
	if (!response.ok) throw problemFrom(response, parsed);
	return parsed;
}

function problemFrom(response, body) {
	return new Problem({
		status: response.status,
		code: body?.code ?? "internal",
		detail: body?.detail ?? t("farm.answered", {status: `${response.status} ${response.statusText}`}),
		errors: body?.errors ?? [],
		retryAfter: body?.retry_after_seconds ?? null,
	});
}

// crypto.randomUUID exists only on https and localhost, not for a farm on a local network.
function randomKey() {
	const bytes = crypto.getRandomValues(new Uint8Array(16));
	return Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
}
