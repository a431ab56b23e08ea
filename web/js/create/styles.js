// Styles as chips, and a dialog to choose them.

import {post} from "../api.js";
import {h, icon} from "../dom.js";
import {askText, openDialog} from "../dialog.js";
import {said, t} from "../text.js";

export function createStyles(app, {onChange, texts}) {
	let names = [];
	const box = h("div.chips#styles");

	function draw() {
		box.replaceChildren(
			...names.map(name => h("span.chip", name,
				h("button", {label: t("remove.name", {name}), onclick: () => set(names.filter(each => each !== name))}, icon("close")))),
			h("button.chip.add#style-add", {onclick: choose}, icon("plus"), t("create.styles")));
	}

	function set(next, {quiet = false} = {}) {
		names = next;
		draw();
		if (!quiet) onChange();
	}

	function choose() {
		const search = h("input", {type: "search", placeholder: t("search"), label: t("search")});
		const list = h("div.style-list");
		const fill = () => {
			const words = search.value.toLowerCase();
			list.replaceChildren(...app.choices.styles.filter(style => `${style.name} ${style.prompt}`.toLowerCase().includes(words)).map(row));
			if (!list.children.length) list.append(h("p.hint", t("nothing")));
		};
		const row = style => {
			const toggle = h("button.style-row", {"aria-pressed": names.includes(style.name), onclick: () => {
				set(names.includes(style.name) ? names.filter(each => each !== style.name) : [...names, style.name]);
				toggle.ariaPressed = names.includes(style.name);
			}}, h("strong", style.name), h("span.aside", said(style.about) || (style.prompt || style.negative_prompt)));
			return toggle;
		};
		search.addEventListener("input", fill);
		fill();
		const add = h("button", {onclick: async () => {
			dialog.close();
			await save();
		}}, t("create.style.save"));
		const dialog = openDialog({title: t("create.styles"), body: h("div.stack", search, list),
			actions: [add, h("button.primary", {onclick: () => dialog.close()}, t("done"))]});
		search.focus();
	}

	// A style of the present prompt: its words are added to other prompts, or surround them at {prompt}.
	async function save() {
		const name = await askText({title: t("create.style.save"), label: t("name"), action: t("save")});
		if (!name) return;
		await post("v1/styles", {name, ...texts()});
		await app.refreshChoices();
		app.toast(t("create.style.saved", {name}));
	}

	draw();
	return {element: box, set, get names() {return names;}};
}

export function negativeTemplates(app) {
	return app.choices.styles.filter(style => style.negative_prompt);
}
