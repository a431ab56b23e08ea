// One image in full: zoom, all its metadata, its lineage, and what can be done with it.

import {contentUrl, get, rateImage, readImage} from "../api.js";
import {copyButton, fact, h, icon, iconButton, MENU, on, show, smallButton as act} from "../dom.js";
import {factsOf} from "../create/facts.js";
import {gigabytes, moment} from "../format.js";
import {collectMenu, download, imageMenu, makings, useSettings} from "../image_actions.js";
import {thumbnail} from "../thumbnail.js";
import {said, t} from "../text.js";
import {createZoom} from "./zoom.js";

// `step(id, direction)` returns the neighbour's id or null; `onDelete`, `onRate`, `onClose` tell the gallery.
export function createViewer(app, {step, collections, onDelete, onRate, onClose, onShow}) {
	const picture = h("img#viewer-picture", {alt: "", draggable: "false"});
	const frame = h("div.viewer-frame", picture);
	const stars = h("div.stars", {role: "group", label: t("image.rating")});
	const side = h("aside.viewer-side", {label: t("stage.details")});
	const previous = iconButton("left", t("previous"), {class: "icon-button viewer-step left", onclick: () => move(-1)});
	const following = iconButton("right", t("next"), {class: "icon-button viewer-step right", onclick: () => move(1)});
	const dialog = h("dialog#viewer.viewer", {tabindex: -1, label: t("viewer")},
		h("div.viewer-stage", frame, previous, following,
			iconButton("close", t("close"), {id: "viewer-close", class: "icon-button viewer-x", onclick: () => dialog.close()})), side);
	const zoom = createZoom([frame]);
	let image = null;
	let number = 0;
	let current = null; // the id that is shown

	async function open(id) {
		number += 1;
		const mine = number;
		current = id;
		image = null;
		zoom.reset();
		if (!dialog.isConnected) document.body.append(dialog);
		if (!dialog.open) dialog.showModal();
		dialog.focus(); // not a button that is hidden at an end of the list
		delete frame.dataset.broken;
		picture.src = contentUrl(id);
		show(previous, Boolean(step(id, -1)));
		show(following, Boolean(step(id, 1)));
		onShow(id);
		try {
			const found = await readImage(id);
			if (mine !== number) return;
			image = found;
			draw();
		} catch (problem) {
			if (mine !== number) return;
			side.replaceChildren(h("p.trouble", problem.message));
		}
	}

	function draw() {
		picture.alt = image.input.prompt ?? t("viewer");
		drawStars();
		const rendered = image.kind !== "upscale";
		const lineage = h("div.lineage#lineage");
		side.replaceChildren(...[
			h("div.viewer-actions",
				rendered && act(t("image.use"), () => {dialog.close(); useSettings(app, image.id);}, {id: "viewer-use", class: "small primary-small"}),
				makings(app, image.id).slice(rendered ? 0 : -2).map(([name, label, run]) => act(label, run, {id: `viewer-${name}`})),
				act(t("image.download"), () => download(image), {id: "viewer-download"}),
				act(t("collection.add"), event => collectMenu(app, event.currentTarget, [image.id], collections(), () => {}), MENU),
				h("button.icon-button.framed", {label: t("more"), ...MENU, onclick: event => imageMenu(app, event.currentTarget, image)}, icon("more")),
				act(t("delete"), erase, {class: "small quiet-danger"})),
			stars,
			h("h2.unseen", t("stage.details")),
			h("p.story", {dir: "auto"}, image.input.prompt ?? ""),
			image.input.prompt && h("p", copyButton(image.input.prompt, t("create.prompt"))),
			h("dl.facts", factsOf(image, image), fact(t("fact.date"), moment(image.created_at)), fact(t("fact.file"), `${image.format.toUpperCase()}, ${gigabytes(image.bytes)}`)),
			image.notice && h("p.hint", said(image.notice.replace(/\. .*$/s, "."))),
			lineage,
			h("details.record", h("summary", t("viewer.record")), h("pre", {tabindex: 0}, JSON.stringify({input: image.input, record: image.record}, null, 1))),
		].filter(Boolean));
		drawLineage(lineage, image.id);
	}

	function drawStars() {
		stars.replaceChildren(...[1, 2, 3, 4, 5].map(value => h("button.star", {"aria-pressed": (image.rating ?? 0) >= value,
			label: t("image.stars", {n: value}), onclick: () => rate(image.rating === value ? null : value)}, icon("star"))));
	}

	async function rate(value) {
		if (!image) return;
		image = await rateImage(image.id, value);
		drawStars();
		onRate(image.id, image.rating);
	}

	async function drawLineage(box, id) {
		let found;
		try {
			found = await get(`v1/images/${id}/lineage`);
		} catch {
			return; // The rest of the view does not depend on it.
		}
		if (!found.ancestors.length && !found.descendants.length) return;
		const children = parent => found.descendants.filter(each => each.parent === parent);
		const node = each => h("li", each.gone ? h("span.gone", t("lineage.gone"))
			: h("button", {"aria-current": each.id === id ? "true" : null, title: `${each.width} × ${each.height}`, onclick: () => open(each.id)}, thumbnail(each, each.mode ? t(`mode.${each.mode}`) : `${each.width} × ${each.height}`, 160)),
		h("span.aside", each.gone ? "" : [each.mode ? t(`mode.${each.mode}`) : null, `${each.width} × ${each.height}`].filter(Boolean).join(", ")),
		branch(each.id === id || each.depth < 0 ? [] : children(each.id)));
		const branch = rows => (rows.length ? h("ul", rows.map(node)) : null);
		const self = node(found.image);
		const below = branch(children(id));
		if (below) self.append(below);
		const chain = [...found.ancestors].reduce((inner, each) => {
			const item = node({...each, depth: -1});
			item.append(h("ul", inner));
			return item;
		}, self);
		box.replaceChildren(h("h3", t("lineage")), h("ul.tree", chain), found.truncated ? h("p.hint", t("lineage.more")) : "");
	}

	function move(direction) {
		const next = step(current, direction); // also while its details are still being read
		if (next) open(next);
	}

	function erase() {
		const {id} = image;
		const next = step(id, 1) ?? step(id, -1);
		onDelete([id]);
		if (next) open(next);
		else dialog.close();
	}

	on(dialog, "keydown", event => {
		if (event.target.closest("input, textarea, .menu, pre")) return;
		if (event.key === "ArrowLeft") move(-1);
		else if (event.key === "ArrowRight") move(1);
		else if (event.key === "+" || event.key === "=") zoom.zoom(1.4);
		else if (event.key === "-") zoom.zoom(1 / 1.4);
		else if (/^[0-5]$/.test(event.key)) rate(Number(event.key) || null);
		else if (event.key === "Delete" && image) erase();
		else if (event.key === "i") side.hidden = !side.hidden;
		else if (event.key === "u" && image) {dialog.close(); useSettings(app, image.id);}
		else if (event.key === "d" && image) download(image);
		else return;
		event.preventDefault();
	});
	on(dialog, "close", () => {number += 1; picture.removeAttribute("src"); onClose();});

	return {open, close: () => dialog.close(), get isOpen() {return dialog.open;}};
}
