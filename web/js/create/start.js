// Start image of the form and its mask: by file, drop, paste, or from an image of the farm.

import {contentUrl, thumbnailUrl, upload} from "../api.js";
import {h, icon, iconButton, show} from "../dom.js";
import {t} from "../text.js";
import {paintMask} from "./mask.js";

const PREVIEW = 512; // pixels; after a refresh the brush paints over it, as the farm gives no upload back
const MAX_BYTES = 60e6;

export function createStart(app, {onChange}) {
	let image = null; // {id, farm: whether it is an image of the farm, preview, width, height}
	let mask = null; // {id, preview}
	let strokes = null; // of the mask, to go on painting
	let source = null; // what the brush paints over
	let model = null;

	const file = h("input.unseen", {type: "file", accept: "image/png,image/jpeg,image/webp", tabindex: -1, "aria-hidden": "true",
		onchange: () => {if (file.files[0]) take(file.files[0]); file.value = "";}});
	const add = h("button.dashed#start-add", {onclick: () => file.click()}, icon("plus"), t("create.start.add"));
	const picture = h("img.start-image", {alt: t("create.start")});
	const cover = h("img.start-mask", {alt: "", hidden: true});
	const strengthOut = h("output", {for: "strength"});
	const strength = h("input#strength", {type: "range", min: 0.05, max: 1, step: 0.05, oninput: () => {strengthOut.textContent = strength.value; onChange();}});
	const strengthRow = h("div.slider-row", h("label", {for: "strength"}, t("create.strength")), strength, strengthOut);
	const brush = h("button#mask-open.small", {onclick: paint}, icon("brush"), h("span", t("create.mask")));
	const clear = h("button.link", {onclick: () => setMask(null)}, t("create.mask.remove"));
	const card = h("div.start-card", {hidden: true},
		h("div.start-frame", picture, cover),
		h("div.stack-small", strengthRow, h("div.row", brush, clear),
			h("p.hint#start-hint")),
		iconButton("close", t("create.start.remove"), {id: "start-remove", onclick: () => set(null)}));
	const error = h("p#init_image-error.error", {role: "alert", hidden: true});
	const element = h("div.field#start", h("span.label", t("create.start")), file, add, card, error);

	function draw() {
		show(add, !image);
		show(card, Boolean(image));
		show(cover, Boolean(mask?.preview));
		show(clear, Boolean(mask));
		if (mask?.preview) cover.src = mask.preview;
		if (image) picture.src = image.farm ? thumbnailUrl(image.id) : image.preview ?? "img/mark.svg";
		show(brush, Boolean(image && (source || image.farm || image.preview) && model?.inpainting));
		show(strengthRow, model?.image_to_image === "strength");
		const hint = card.querySelector("#start-hint");
		const text = image && model?.image_to_image === "none" ? t("create.start.unused", {model: model.title}) : mask ? t("create.mask.on") : "";
		hint.textContent = text;
		show(hint, Boolean(text));
		strengthOut.textContent = strength.value;
	}

	async function take(blob) {
		show(error, false);
		if (blob.size > MAX_BYTES) return fail(t("create.start.large"));
		element.ariaBusy = true;
		try {
			const bitmap = await createImageBitmap(blob);
			const row = await upload(blob);
			source = bitmap;
			strokes = null;
			mask = null;
			strength.value = 0.6;
			image = {id: row.id, farm: false, preview: reduced(bitmap), width: row.width, height: row.height};
			draw();
			onChange({size: image});
		} catch (problem) {
			fail(problem.detail ?? problem.message);
		} finally {
			element.ariaBusy = null;
		}
	}

	function fail(text) {
		error.textContent = text;
		show(error, true);
	}

	function set(next, {quiet = false} = {}) {
		image = next;
		mask = null;
		strokes = null;
		source = null;
		show(error, false);
		draw();
		if (!quiet) onChange();
	}

	function setMask(next) {
		mask = next;
		if (!next) strokes = null;
		strength.value = next ? 1 : 0.6;
		draw();
		onChange();
	}

	async function paint() {
		show(error, false);
		try {
			source ??= await loadImage(image.farm ? contentUrl(image.id) : image.preview);
		} catch {
			fail(t("create.start.gone"));
			return;
		}
		const result = await paintMask(source, image, strokes, app);
		if (!result) return;
		strokes = result.strokes;
		feather = result.feather;
		setMask({id: result.upload.id, preview: result.preview});
	}

	let feather = 0;

	return {
		element,
		take,
		set,
		setModel: next => {model = next; draw();},
		useImage: row => set({id: row.id, farm: true, width: row.width, height: row.height}),
		get image() {return image;},
		fields() {
			if (!image) return {};
			const found = {init_image: image.id};
			if (model?.image_to_image === "strength") found.strength = Number(strength.value);
			if (mask) Object.assign(found, {mask: mask.id, ...(feather ? {mask_feather: feather} : {})});
			return found;
		},
		keep: () => (image ? {image, mask, strokes, strength: strength.value, feather} : null),
		restore(kept) {
			if (!kept) return;
			({image, mask, strokes = null} = kept);
			feather = kept.feather ?? 0;
			strength.value = kept.strength;
			draw();
		},
		// From a request's fields: `farm` says whether init_image is an image of the farm.
		fill({init_image: id, mask: maskId, mask_feather: soft, strength: value}, farm) {
			set(id ? {id, farm, preview: null} : null, {quiet: true});
			if (maskId) mask = {id: maskId, preview: null};
			feather = soft ?? 0;
			if (value !== undefined) strength.value = value;
			draw();
		},
	};
}

function reduced(bitmap) {
	const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
	const [width, height] = [bitmap.width, bitmap.height].map(side => Math.max(1, Math.round(side * scale)));
	const canvas = h("canvas", {width, height});
	canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
	return canvas.toDataURL("image/jpeg", 0.8);
}

function loadImage(url) {
	return new Promise((resolve, reject) => {
		const image = new Image();
		image.onload = () => resolve(image);
		image.onerror = reject;
		image.src = url;
	});
}
