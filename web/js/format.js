// Formats of numbers, durations, sizes and times.

import {language, named, t} from "./text.js";

export function seconds(value) {
	if (value < 1) return `${Math.max(1, Math.round(value * 1000))} ms`;
	if (value < 10) return `${value.toFixed(1)} s`;
	if (value < 90) return `${Math.round(value)} s`;
	const minutes = Math.floor(Math.round(value) / 60);
	if (minutes < 60) return `${minutes} min ${Math.round(value) % 60} s`;
	return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function about(value) {
	if (value < 1.5) return t("about.second");
	return t("about", {time: value < 90 ? `${Math.round(value)} s` : seconds(value)});
}

export function ordinal(number) {
	if (language === "zh") return String(number);
	const tail = number % 100;
	const ending = tail > 10 && tail < 14 ? "th" : ({1: "st", 2: "nd", 3: "rd"}[number % 10] ?? "th");
	return `${number}${ending}`;
}

export function gigabytes(bytes) {
	if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
	return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB`;
}

export function count(value) {
	return Number(value).toLocaleString(language);
}

export function moment(iso) {
	return new Date(iso).toLocaleString(language, {dateStyle: "medium", timeStyle: "short"});
}

export function clock(iso) {
	return new Date(iso).toLocaleTimeString(language, {hour: "2-digit", minute: "2-digit"});
}

export function ago(iso) {
	const passed = (Date.now() - new Date(iso).getTime()) / 1000;
	if (passed < 5) return t("ago.now");
	return t("ago", {time: passed < 5400 ? seconds(Math.round(passed)) : moment(iso)});
}

export const statusLabel = status => named("status", status);

const SETTLED = new Set(["succeeded", "failed", "canceled", "expired", "held"]);

export function isSettled(job) {
	return SETTLED.has(job.status);
}

// outputs_YYYYMMDDHHMMSS.png, as the command line names its exports.
export function fileName(job, output) {
	const ended = new Date(job.completed_at ?? job.created_at);
	const two = number => String(number).padStart(2, "0");
	const day = `${ended.getFullYear()}${two(ended.getMonth() + 1)}${two(ended.getDate())}`;
	const time = `${two(ended.getHours())}${two(ended.getMinutes())}${two(ended.getSeconds())}`;
	return `outputs_${day}${time}${output.index ? `_${two(output.index)}` : ""}.${output.format}`;
}

export function ownerName(owner) {
	return owner.replace(/^(client|key):/, "");
}
