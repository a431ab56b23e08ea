// Two to four images side by side, or two under a slider, with zoom in step and what differs between them.

import {contentUrl, readImage} from "../api.js";
import {h, on, show, table, zoomButtons} from "../dom.js";
import {openDialog} from "../dialog.js";
import {LABELS, MAIN} from "../settings_of.js";
import {t} from "../text.js";
import {createZoom} from "./zoom.js";

const FIELDS = [...MAIN, "strength", "upscaler", "rating"];

const letter = at => String.fromCharCode(65 + at);

export async function compareImages(app, ids) {
	const images = await Promise.all(ids.slice(0, 4).map(readImage));
	const pair = images.length === 2;
	const name = at => h("span.letter", letter(at));
	const pictures = image => h("img", {src: contentUrl(image.id), alt: image.input.prompt ?? image.id, draggable: "false"});
	const side = h("div.compare-side", {"data-count": images.length}, images.map((image, at) =>
		h("figure.compare-frame", pictures(image), name(at))));
	const slider = h("input.compare-slider#compare-slider", {type: "range", min: 0, max: 100, value: 50, label: t("compare.slider")});
	const over = h("div.compare-over", h("div.layer", pictures(images[0])), pair ? h("div.layer.top", pictures(images[1])) : null, name(0), name(1), slider);
	const cut = () => over.style.setProperty("--cut", `${slider.value}%`);
	on(slider, "input", cut);
	cut();
	const zoom = createZoom([...side.children, over]);
	const mode = h("button.small#compare-mode", {"aria-pressed": pair, onclick: () => choose(over.hidden)}, t("compare.slider"));
	function choose(sliding) {
		show(over, sliding);
		show(side, !sliding);
		mode.ariaPressed = sliding;
	}
	choose(pair);
	const value = (image, name) => (name === "rating" ? image.rating : name === "seed" ? image.seed : image[name] ?? image.input[name]) ?? "—";
	const differing = FIELDS.filter(name => new Set(images.map(image => String(value(image, name)))).size > 1);
	const differences = () => table(".compare-table", [t("compare.setting"), ...images.map((_, at) => letter(at))],
		differing.map(name => h("tr", h("th", {scope: "row"}, t(LABELS[name])), images.map(image => h("td", String(value(image, name)))))));
	const dialog = openDialog({
		title: t("gallery.compare"),
		class: "full-dialog compare",
		body: h("div.compare-body", over, side, differing.length ? differences() : h("p.hint", t("compare.same"))),
		actions: [pair ? mode : "", ...zoomButtons(zoom.zoom),
			h("button.small", {onclick: zoom.reset}, t("zoom.fit"))],
	});
	on(dialog.element, "keydown", event => {
		if (event.key === "+") zoom.zoom(1.4);
		if (event.key === "-") zoom.zoom(1 / 1.4);
	});
}
