// Settings of an image as a list of terms, and its warnings and notice.

import {copyButton, fact, h, prose} from "../dom.js";
import {seconds} from "../format.js";
import {said, t} from "../text.js";

export function factsOf(row, output) {
	const input = row.input;
	const seed = output?.seed ?? input.seed;
	return [
		row.kind === "upscale" ? fact(t("fact.upscaler"), `${input.upscaler}, ×${input.scale}`) : fact(t("fact.model"), row.model),
		fact(t("fact.size"), `${output?.width ?? input.width} × ${output?.height ?? input.height}`),
		...(input.num_inference_steps === undefined ? [] : [
			fact(t("fact.steps"), input.num_inference_steps),
			fact(t("fact.guidance"), input.guidance_scale > 1 ? input.guidance_scale : t("off")),
		]),
		seed === undefined || row.kind === "upscale" ? null : fact(t("fact.seed"), seed, copyButton(String(seed), t("fact.seed"))),
		input.loras?.length ? fact(t("fact.loras"), input.loras.map(({name, scale}) => `${name} ${scale}`).join(", ")) : null,
		row.status === "succeeded" ? fact(t("fact.time"), timeOf(row.timings)) : null,
		input.negative_prompt ? wide(fact(t("fact.without"), input.negative_prompt)) : null,
	].filter(Boolean);
}

export function notesOf(job) {
	const texts = [...job.warnings, ...(job.notice && job.outputs.length ? [firstSentence(job.notice)] : [])];
	return texts.map(text => h("li", ...prose(said(text))));
}

// The banner shows the whole notice.
function firstSentence(text) {
	return text.replace(/\. .*$/s, ".");
}

function wide(element) {
	element.classList.add("wide");
	return element;
}

function timeOf(timings) {
	const total = seconds(timings.total_seconds ?? 0);
	const waited = timings.queued_seconds ?? 0;
	return waited >= 0.5 ? t("fact.waited", {total, waited: seconds(waited)}) : total;
}
