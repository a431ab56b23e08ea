// Texts for a job's state.

import {about, ordinal, seconds} from "../format.js";
import {said, t} from "../text.js";

export function waitingOf(job) {
	if (job.cancel_requested) return {title: t("live.canceling"), detail: t("live.canceling.detail")};
	return job.status === "queued" ? queued(job) : running(job);
}

function queued(job) {
	const place = job.queue?.position;
	const title = place > 1 ? t("live.place", {place: ordinal(place)}) : t("status.queued");
	const eta = job.queue?.eta_seconds;
	const detail = [said(job.queue?.reason), eta ? t("live.donein", {time: about(eta)}) : null].filter(Boolean).join(" ");
	return {title, detail: detail || t("live.saved")};
}

function running(job) {
	const progress = job.progress;
	if (!progress || !progress.steps) return {title: t("status.running"), detail: t(job.kind === "upscale" ? "live.opening" : "live.reading")};
	if (progress.step >= progress.steps && progress.value >= 1) return {title: t("live.saving"), detail: t("live.saving.detail")};
	const speed = progress.seconds_per_step ? t("live.perstep", {time: seconds(progress.seconds_per_step)}) : null;
	const left = progress.eta_seconds > 0 ? t("live.left", {time: about(progress.eta_seconds)}) : null;
	const all = job.input.num_images > 1 ? t("images", {n: job.input.num_images}) : null;
	return {
		title: t(job.kind === "upscale" ? "live.tile" : "live.step", {step: progress.step, steps: progress.steps}),
		detail: [all, left, speed].filter(Boolean).join(", "),
	};
}

export function barValue(job) {
	return job.status === "running" && job.progress ? Math.min(Math.max(job.progress.value, 0), 1) : null;
}

export function troubleOf(job) {
	const why = said(job.error?.message, job.error?.code);
	switch (job.status) {
		case "failed":
			return {title: t("trouble.failed"), detail: why};
		case "held":
			return {title: t("trouble.held", {attempt: job.attempt, max: job.max_attempts}), detail: why};
		case "expired":
			return {title: t("trouble.expired"), detail: why, calm: true};
		case "canceled":
			return {title: t("status.canceled"), detail: "", calm: true};
		case "queued":
			return job.attempt > 0 && why ? {title: t("trouble.retried", {attempt: job.attempt}), detail: why, calm: true} : null;
		default:
			return null;
	}
}
