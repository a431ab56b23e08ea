// The selected job: its queue position, its progress, and its images.

import {contentUrl} from "../api.js";
import {announce, h, icon, MENU, progressBar, setText, show} from "../dom.js";
import {fileName, isSettled, statusLabel} from "../format.js";
import {imageMenu, refine, upscale} from "../image_actions.js";
import {go} from "../router.js";
import {thumbnail} from "../thumbnail.js";
import {t} from "../text.js";
import {factsOf, notesOf} from "./facts.js";
import {barValue, troubleOf, waitingOf} from "./states.js";

const EXAMPLES = [t("create.prompt.example"), "雨后的江南小巷, 青石板路, 水墨风格", t("create.example")];

export function createStage(app, {again, edit, cancel, retry, example, choose}) {
	const parts = {};
	const part = (id, element) => {element.id = id; parts[id] = element; return element;};
	const button = (id, label, run, properties = {}) => part(id, h("button", {onclick: run, ...properties}, label));
	const stage = part("stage", h("section.stage.panel", {label: t("stage"), "data-state": "empty"},
		part("welcome", h("div.welcome",
			h("p.lead", t("create.describe")), h("p", t("create.examples")),
			h("ul.examples#examples", EXAMPLES.map(text => h("li", h("button", {onclick: () => example(text)}, text)))))),
		part("show", h("div.show", {hidden: true},
			part("frame", h("div.frame",
				part("preview", h("img.preview", {alt: "", hidden: true, decoding: "async"})),
				part("picture", h("img.picture", {alt: "", hidden: true})),
				part("waiting", h("div.waiting",
					part("waiting-title", h("p.waiting-title")),
					part("bar", progressBar(t("progress"), 0)),
					part("waiting-detail", h("p.waiting-detail")))))),
			part("strip", h("div.strip.row", {role: "group", label: t("stage.strip"), hidden: true})),
			part("siblings", h("div.strip.siblings.row", {role: "group", label: t("stage.variants"), hidden: true})),
			part("trouble", h("div.trouble", {hidden: true}, part("trouble-title", h("p.trouble-title")), part("trouble-detail", h("p")))),
			part("actions", h("div.actions.row",
				button("again", t("stage.again"), () => again(job), {title: t("stage.again.about")}),
				button("reuse", t("stage.edit"), () => job && edit(job, job.outputs[index]), {title: t("stage.edit.about")}),
				part("download", h("a.button", {href: "#", download: true, hidden: true}, t("image.download"))),
				button("refine", t("image.refine"), () => refine(app, job.outputs[index].id), {hidden: true}),
				button("upscale", t("image.upscale", {scale: 4}), () => upscale(app, [job.outputs[index].id], 4), {hidden: true}),
				button("details", t("stage.details"), () => go("gallery", job.outputs[index].id), {hidden: true}),
				button("image-more", icon("more"), event => imageMenu(app, event.currentTarget, job.outputs[index]), {class: "icon-button framed", hidden: true, ...MENU, label: t("more")}),
				button("retry", t("stage.retry"), () => retry(job), {hidden: true}),
				button("cancel", t("cancel"), () => cancel(job), {class: "quiet-danger", hidden: true}))),
			part("story", h("p.story", {dir: "auto"})),
			part("facts", h("dl.facts")),
			part("notes", h("ul.notes", {hidden: true}))))));
	let job = null;
	let index = 0;
	let drawn = ""; // the job, revision and image that the costly parts of the view show

	function showJob(next) {
		if (next?.id !== job?.id) {
			index = 0;
			clearImages();
		}
		const before = job;
		job = next;
		show(parts.welcome, !job);
		show(parts.show, Boolean(job));
		stage.dataset.state = job?.status ?? "empty";
		if (!job) return;
		announceChange(before, job);
		drawFrame();
		const siblings = job.batch_id ? app.jobs.all().filter(each => each.batch_id === job.batch_id).reverse() : [];
		const key = `${job.id} ${job.revision} ${index} ${job.outputs.length} ${job.cancel_requested} ${siblings.map(each => each.revision)}`;
		if (key === drawn) return;
		drawn = key;
		drawDetails();
		drawSiblings(siblings);
	}

	function announceChange(before, now) {
		if (before?.id !== now.id || before.status === now.status) return;
		announce(now.status === "succeeded" ? t("stage.ready") : statusLabel(now.status));
	}

	function drawFrame() {
		const output = job.outputs[index];
		const {width, height} = output ?? job.input;
		parts.frame.style.setProperty("--ratio", (width ?? 1) / (height ?? 1));
		show(parts.frame, Boolean(output) || !isSettled(job));
		drawImage(output);
		const image = job.status === "running" && !output && job.preview;
		show(parts.preview, Boolean(image));
		if (image) parts.preview.src = `data:${image.media_type};base64,${image.data}`;
		drawWaiting();
	}

	function drawImage(output) {
		show(parts.picture, Boolean(output));
		if (!output || parts.picture.dataset.id === output.id) return;
		parts.picture.dataset.id = output.id;
		delete parts.frame.dataset.broken;
		parts.picture.src = contentUrl(output);
		parts.picture.alt = job.input.prompt ?? t("stage");
	}

	function drawWaiting() {
		show(parts.waiting, !isSettled(job));
		if (isSettled(job)) return;
		const {title, detail} = waitingOf(job);
		setText(parts["waiting-title"], title);
		setText(parts["waiting-detail"], detail);
		const value = barValue(job);
		show(parts.bar, value !== null);
		parts.bar.fill(value ?? 0);
	}

	function drawDetails() {
		const output = job.outputs[index];
		const rendered = Boolean(output) && job.kind !== "upscale";
		drawStrip();
		drawTrouble();
		show(parts.again, isSettled(job) && job.kind !== "upscale");
		show(parts.reuse, job.kind !== "upscale");
		show(parts.retry, ["failed", "held", "expired"].includes(job.status));
		show(parts.cancel, !isSettled(job) || job.status === "held");
		parts.cancel.disabled = job.cancel_requested && !isSettled(job);
		setText(parts.cancel, parts.cancel.disabled ? t("live.canceling") : t("cancel"));
		for (const name of ["download", "details", "image-more", "upscale"]) show(parts[name], Boolean(output));
		show(parts.refine, rendered);
		if (output) Object.assign(parts.download, {href: contentUrl(output), download: fileName(job, output)});
		setText(parts.story, job.input.prompt ?? "");
		parts.facts.replaceChildren(...factsOf(job, output));
		const notes = notesOf(job);
		show(parts.notes, notes.length > 0);
		parts.notes.replaceChildren(...notes);
	}

	function drawStrip() {
		show(parts.strip, job.outputs.length > 1);
		parts.strip.replaceChildren(...(job.outputs.length > 1 ? job.outputs.map(stripButton) : []));
	}

	function stripButton(output, number) {
		const pick = () => {index = number; showJob(job); parts.strip.children[number].focus();};
		return h("button", {"aria-pressed": number === index, onclick: pick},
			thumbnail(output, t("stage.image", {n: number + 1, seed: output.seed})));
	}

	function drawSiblings(all) {
		const few = all.length > 1 && all.length <= 8;
		show(parts.siblings, few);
		if (!few) {parts.siblings.replaceChildren(); return;}
		const differing = ["model", "num_inference_steps", "guidance_scale", "strength", "width", "height"].filter(name => new Set(all.map(each => each.input[name])).size > 1);
		const done = all.flatMap(each => each.outputs.slice(0, 1));
		parts.siblings.replaceChildren(...all.map(each => {
			const label = differing.map(name => each.input[name]).join(" × ") || each.input.expanded_from?.styles?.join(", ") || statusLabel(each.status);
			return h("button.variant", {"aria-pressed": each.id === job.id, onclick: () => choose(each.id)},
				each.outputs[0] ? thumbnail(each.outputs[0]) : h("span.variant-wait"), h("span", label));
		}), done.length > 1 ? h("button.plain#compare-variants", {onclick: async () => {
			const {compareImages} = await import("../gallery/compare.js");
			compareImages(app, done.slice(0, 4).map(each => each.id));
		}}, t("gallery.compare")) : "");
	}

	function drawTrouble() {
		const trouble = troubleOf(job);
		show(parts.trouble, Boolean(trouble));
		if (!trouble) return;
		parts.trouble.dataset.tone = trouble.calm ? "calm" : "bad";
		setText(parts["trouble-title"], trouble.title);
		setText(parts["trouble-detail"], trouble.detail);
	}

	function clearImages() {
		delete parts.frame.dataset.broken;
		for (const image of [parts.picture, parts.preview]) {
			image.removeAttribute("src");
			Object.keys(image.dataset).forEach(name => delete image.dataset[name]);
			show(image, false);
		}
	}

	function showProblem(problem) {
		show(parts.trouble, true);
		parts.trouble.dataset.tone = "bad";
		setText(parts["trouble-title"], t("trouble.action"));
		setText(parts["trouble-detail"], problem.message);
		announce(problem.message);
	}

	function showMissing(problem) {
		show(parts.welcome, false);
		show(parts.show, true);
		["frame", "strip", "siblings", "notes", "again", "retry", "cancel", "download", "refine", "upscale", "details", "image-more", "reuse"].forEach(name => show(parts[name], false));
		setText(parts.story, "");
		parts.facts.replaceChildren();
		showProblem(problem);
	}

	return {element: stage, show: showJob, showProblem, showMissing};
}
