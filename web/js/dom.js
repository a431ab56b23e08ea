// Helpers that create and change elements. Text is never parsed as markup.

import {t} from "./text.js";

export const byId = id => document.getElementById(id);

// h("button.small#go", { onclick: run }, "Go"): tag, classes and id, properties if any, children. `label` is for screen readers.
// A button submits no form unless its type says so.
export function h(name, properties, ...children) {
	const [tag, ...marks] = name.split(/(?=[.#])/);
	const element = document.createElement(tag);
	if (tag === "button") element.type = "button";
	for (const mark of marks) {
		if (mark[0] === "#") element.id = mark.slice(1);
		else element.classList.add(mark.slice(1));
	}
	if (properties?.constructor === Object) {
		for (const [key, value] of Object.entries(properties)) {
			const aria = key.startsWith("aria-"); // false is a value of these
			if ((value ?? null) === null || (value === false && !aria)) continue;
			if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
			else element.setAttribute(key === "label" ? "aria-label" : key, value === true && !aria ? "" : value);
		}
	} else children.unshift(properties);
	element.append(...children.flat().filter(child => (child ?? false) !== false));
	return element;
}

export const on = (target, ...rest) => target.addEventListener(...rest);

export const smallButton = (label, run, properties = {}) => h("button.small", {onclick: run, ...properties}, label);

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, properties = {}, ...children) {
	const element = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
	element.append(...children);
	return element;
}

// Lines in a square of 24; drawn for this page.
const ICONS = {
	create: "M12 3l1.8 5.2L19 10l-5.2 1.8L12 17l-1.8-5.2L5 10l5.2-1.8zM18 16l.9 2.1L21 19l-2.1.9L18 22l-.9-2.1L15 19l2.1-.9z",
	gallery: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
	models: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
	farm: "M4 5h16v5H4zM4 14h16v5H4zM8 7.5h.01M8 16.5h.01",
	settings: "M5 7h8M17 7h2M5 17h2M11 17h8M15 5v4M9 15v4",
	dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M12 12h.01",
	close: "M6 6l12 12M18 6L6 18",
	clock: "M12 4a8 8 0 100 16 8 8 0 000-16M12 8v4l3 2",
	more: "M5 12h.01M12 12h.01M19 12h.01",
	swap: "M7 5v14M7 19l-3-3M7 19l3-3M17 19V5M17 5l-3 3M17 5l3 3",
	undo: "M9 7L5 11l4 4M5 11h9a5 5 0 010 10h-2",
	brush: "M4 20c3 0 5-1 5-4l9-11 2 2-10 10M4 20c1-1 1-2 1-4a2 2 0 014 0",
	plus: "M12 5v14M5 12h14",
	star: "M12 4l2.5 5.2 5.7.8-4.1 4 1 5.7L12 17l-5.1 2.7 1-5.7-4.1-4 5.7-.8z",
	left: "M14 6l-6 6 6 6",
	right: "M10 6l6 6-6 6",
	help: "M9 9a3 3 0 114.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18h.01",
	link: "M10 14a4 4 0 006 0l3-3a4 4 0 00-6-6l-1 1M14 10a4 4 0 00-6 0l-3 3a4 4 0 006 6l1-1",
};

export function icon(name) {
	const drawn = svg("svg", {viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true"});
	drawn.append(svg("path", {d: ICONS[name]}));
	return drawn;
}

export function iconButton(name, label, properties = {}) {
	return h("button.icon-button", {label, title: label, ...properties}, icon(name));
}

export function fact(name, value, ...more) {
	return h("div", h("dt", name), h("dd", String(value), ...more));
}

// Buttons of which one is pressed. `rows`: [value, label, properties]; `use` gets the value that is chosen.
export function segments(rows, present, use, properties) {
	const box = h("div.segments", {role: "group", ...properties}, rows.map(([value, label, more]) =>
		h("button", {"aria-pressed": value === present, "data-value": value, ...more, onclick: event => {
			for (const each of box.children) each.ariaPressed = each === event.currentTarget;
			use(value);
		}}, label)));
	return box;
}

// `.stacked`: on a phone, a row is a block, and each cell has its heading before it.
export function table(name, headings, ...rows) {
	const titles = headings.map(each => each.textContent ?? each);
	for (const row of rows.flat()) [...row.children].forEach((cell, at) => {cell.dataset.label = titles[at];});
	return h("div.table-scroll", {tabindex: 0}, h(`table.table${name}`,
		h("thead", h("tr", headings.map(each => (each.tagName ? each : h("th", {scope: "col"}, each))))), h("tbody", ...rows)));
}

export const zoomButtons = (zoom, step = 1.4) => [[t("zoom.out"), 1 / step, "−"], [t("zoom.in"), step, "+"]]
	.map(([label, factor, sign]) => smallButton(sign, () => zoom(factor), {label}));

// `value`: the part that is done, 0 to 1.
export function progressBar(label, value, properties = {}) {
	const bar = h("div.bar", {role: "progressbar", label, "aria-valuemin": 0, "aria-valuemax": 100, ...properties}, h("span"));
	bar.fill = part => {
		bar.ariaValueNow = Math.round(part * 100);
		bar.style.setProperty("--done", part);
	};
	bar.fill(value);
	return bar;
}

export const MENU = {"aria-haspopup": "menu", "aria-expanded": "false"};

export const errorBox = () => h("p.error.boxed", {role: "alert", hidden: true});

export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
	element.hidden = !visible;
}

// Lets `draw` renew what is in `box`; the focus stays at its place, as long as there are as many places.
export function renew(box, draw) {
	const places = () => [...box.querySelectorAll("a, button, summary")];
	const before = places();
	const at = before.indexOf(document.activeElement);
	draw();
	const after = places();
	if (after.length === before.length) after[at]?.focus({preventScroll: true});
}

// Returns a sentence with code between backticks as nodes; `code` creates the element of a code part.
export function prose(text, code = part => h("code", part)) {
	return text.split("`").map((part, index) => (index % 2 ? code(part) : document.createTextNode(part)));
}

export function announce(text) {
	byId("announcer").textContent = text;
}

// The clipboard interface exists only on https and localhost; elsewhere execCommand copies a selection.
export async function copyText(text) {
	if (navigator.clipboard && window.isSecureContext) {
		await navigator.clipboard.writeText(text);
		return;
	}
	const box = h("textarea.unseen", {"aria-hidden": "true"});
	box.value = text;
	document.body.append(box);
	box.select();
	document.execCommand("copy");
	box.remove();
}

export function copyButton(text, name) {
	const button = h("button.tiny", {label: t("copy.name", {name})}, t("copy"));
	button.addEventListener("click", async () => {
		await copyText(text);
		button.textContent = t("copied");
		announce(t("copied"));
		setTimeout(() => {button.textContent = t("copy");}, 1600);
	});
	return button;
}

export function debounce(milliseconds, run) {
	let timer = null;
	return (...values) => {
		clearTimeout(timer);
		timer = setTimeout(() => run(...values), milliseconds);
	};
}
