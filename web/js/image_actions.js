// What can be done with a finished image, on every view: use its settings, run again, refine, enlarge, vary, delete, collect.

import {contentUrl, patch, post, readImage, remove, submit, submitJob, withQuery} from "./api.js";
import {h} from "./dom.js";
import {askText, openMenu} from "./dialog.js";
import {go} from "./router.js";
import {settingsOf} from "./settings_of.js";
import {t} from "./text.js";

const UNDO_MS = 8000;
const VARIATION = 0.25;
const AT_ONCE = 4;
const MAX_EXPORT = 1000;

async function making(app, run, text) {
	const made = await run();
	if (made.jobs) {app.watch.refreshList(); app.toast(text); return;}
	app.jobs.put(made);
	app.toast(text, {label: t("open"), action: () => go("create", made.id)});
}

const rerun = (app, id) => making(app, () => post(`v1/images/${id}/rerun`), t("made.again"));
export const refine = (app, id, mode = "hires") => making(app, () => submit(`v1/images/${id}/refine`, {mode}), t("made.refine"));
export const upscale = (app, ids, scale) =>
	making(app, () => submit("v1/upscales", ids.length === 1 ? {image: ids[0], scale} : {images: ids, scale}), t("made.upscale", {n: ids.length, scale}));

function vary(app, id) {
	return making(app, async () => {
		const image = await readImage(id);
		return submitJob({...settingsOf(image, image.seed), num_images: 4, variation_seed: -1, variation_strength: VARIATION});
	}, t("made.vary"));
}

// What makes other images of one: [name, label, run]; the last two of any image, the others of a rendered one.
export function makings(app, id) {
	return [["again", t("image.again"), () => rerun(app, id)], ["vary", t("image.vary"), () => vary(app, id)], ["refine", t("image.refine"), () => refine(app, id)],
		...[2, 4].map(scale => [`upscale${scale}`, t("image.upscale", {scale}), () => upscale(app, [id], scale)])];
}

export async function useSettings(app, id) {
	const image = await readImage(id);
	app.pending = {settings: settingsOf(image, image.seed), farm: Boolean(image.parent?.image)};
	go("create");
}

function useAsStart(app, image) {
	app.pending = {start: image};
	go("create");
}

export function download(image, name = `${image.id}.png`) {
	h("a", {href: contentUrl(image), download: name}).click();
}

export function downloadZip(app, ids) {
	if (ids.length > MAX_EXPORT) {app.toast(t("gallery.toomany", {n: MAX_EXPORT}), {tone: "bad"}); return;}
	h("a", {href: withQuery("v1/exports", {image: ids}), download: true}).click();
}

// Hides the images at once and deletes them when the time to undo is over, also when the page is left before.
export function deleteLater(app, ids, {hide, restore}) {
	hide(ids);
	let undone = false;
	const send = async () => {
		window.removeEventListener("pagehide", leave);
		if (undone) return;
		const failed = [];
		const queue = [...ids];
		await Promise.all(Array.from({length: AT_ONCE}, async () => {
			for (let id = queue.pop(); id; id = queue.pop()) {
				try {await remove(`v1/images/${id}`);} catch (problem) {if (problem.status !== 410) failed.push([id, problem]);}
			}
		}));
		if (failed.length) {
			restore(failed.map(([id]) => id));
			app.toast(failed[0][1].message, {tone: "bad"});
		}
	};
	const leave = () => {if (!undone) ids.forEach(id => fetch(`v1/images/${id}`, {method: "DELETE", keepalive: true, headers: {"X-Client-Label": "web"}}));};
	window.addEventListener("pagehide", leave);
	const timer = setTimeout(send, UNDO_MS);
	app.toast(t("gallery.deleted", {n: ids.length}), {label: t("undo"), milliseconds: UNDO_MS, action: () => {
		undone = true;
		clearTimeout(timer);
		window.removeEventListener("pagehide", leave);
		restore(ids);
	}});
}

async function collect(app, ids, collections, onchange) {
	const name = await askText({title: t("collection.new"), label: t("name"), action: t("save")});
	if (!name) return;
	await addTo(app, ids, () => post("v1/collections", {name}), onchange);
}

async function addTo(app, ids, find, onchange) {
	const found = await find();
	for (let at = 0; at < ids.length; at += MAX_EXPORT) await patch(`v1/collections/${found.id}`, {add: ids.slice(at, at + MAX_EXPORT)});
	app.toast(t("collection.added", {n: ids.length, name: found.name}));
	onchange();
}

export function collectMenu(app, anchor, ids, collections, onchange) {
	openMenu(anchor, [
		...collections.map(each => ({label: each.name, run: () => addTo(app, ids, async () => each, onchange)})),
		{label: t("collection.new"), run: () => collect(app, ids, collections, onchange)},
	]);
}

// The menu of one image: `image` has id, width, height.
export function imageMenu(app, anchor, image) {
	const start = app.choices.models.some(model => model.served && model.image_to_image !== "none");
	openMenu(anchor, [
		...makings(app, image.id).map(([, label, run]) => ({label, run})),
		{label: t("image.coherent"), run: () => refine(app, image.id, "coherent")},
		...(start ? [{label: t("image.start"), run: () => useAsStart(app, image)}] : []),
	]);
}
