// Fields of the form, each with its label and error.

import {h} from "../dom.js";

export function field(id, label, control, extra = null) {
	return h("div.field", h("label", {for: id}, label), control, extra, errorOf(id));
}

export const errorOf = id => h("p.error", {id: `${id}-error`, hidden: true});

export const whole = (id, name, more) => h("input", {id, name, type: "number", inputmode: "numeric", "aria-describedby": `${id}-error`, ...more});

export function slider(id, name, label, limits, aside = "") {
	return h("div.field.slider",
		h("label", {for: id}, label, " ", h("span.aside", aside)),
		h("div.slider-row",
			h("input", {type: "range", id: `${id}-range`, min: limits.min, step: limits.step, label, tabindex: -1}),
			whole(id, name, limits)),
		errorOf(id));
}

export function shortcut() {
	return /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ Enter" : "Ctrl Enter";
}

// Text that is not a number is sent as it is: the API then names the field and the expected value.
export function number(text) {
	const trimmed = String(text).trim();
	if (trimmed === "") return undefined;
	const value = Number(trimmed);
	return Number.isFinite(value) ? value : trimmed;
}

export function sentence(message) {
	return message.charAt(0).toUpperCase() + message.slice(1);
}
