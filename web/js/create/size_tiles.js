// Size and shape: two radio groups, whose frames have the proportions of the image.

import {h, on} from "../dom.js";
import {BASES, basesFor, choiceOf, fits, ratioOf, RATIOS, sizeFor} from "../sizes.js";
import {t} from "../text.js";

const NAMES = {512: "size.small", 768: "size.medium", 1024: "size.large"};

export function createSizes({onChoose}) {
	const bases = h("div#sizes.sizes", {role: "radiogroup", label: t("create.size")});
	const ratios = h("div#ratios.ratios", {role: "radiogroup", label: t("create.shape")});
	let limits = null;
	let chosen = {base: 512, ratio: "1:1"};

	function choose(change) {
		chosen = {...chosen, ...change};
		onChoose(sizeFor(chosen.base, chosen.ratio, limits));
	}

	on(bases, "input", event => choose({base: Number(event.target.value)}));
	on(ratios, "input", event => choose({ratio: event.target.value}));

	return {
		element: h("div.stack-small", bases, ratios),
		setModel(model) {
			limits = model.limits;
			bases.replaceChildren(...basesFor(model).map(baseTile));
			ratios.replaceChildren(...RATIOS.filter(ratio => BASES.some(base => fits(sizeFor(base, ratio, limits), limits))).map(ratioTile));
		},
		mark(size) {
			const found = limits && choiceOf(size, limits);
			if (found) chosen = found;
			bases.querySelectorAll("input").forEach(input => {input.checked = Boolean(found) && Number(input.value) === found.base;});
			ratios.querySelectorAll("input").forEach(input => {input.checked = Boolean(found) && input.value === found.ratio;});
		},
		swap() {
			const [width, height] = chosen.ratio.split(":");
			choose({ratio: `${height}:${width}`});
		},
	};
}

function baseTile(base) {
	return h("label.tile",
		h("input", {type: "radio", name: "size", value: base}),
		h("span.tile-face", h("strong", t(NAMES[base])), h("span", `${base}`)));
}

function ratioTile(ratio) {
	const shape = h("span.shape", {"aria-hidden": "true"});
	const value = Math.sqrt(ratioOf(ratio));
	shape.style.width = `${0.95 * value}rem`;
	shape.style.height = `${0.95 / value}rem`;
	return h("label.tile.ratio", {title: ratio},
		h("input", {type: "radio", name: "ratio", value: ratio}),
		h("span.tile-face", shape, h("span", ratio)));
}
