// LoRAs of the form, each with its scale.

import {h, iconButton, show} from "../dom.js";
import {t} from "../text.js";

export function createLoras(app, {onChange}) {
	let chosen = []; // {name, scale}
	let model = null;
	const rows = h("div.lora-rows");
	const box = h("select#lora-add", {label: t("create.lora.add")});
	const element = h("div.field#loras", h("span.label", t("fact.loras")), rows, box,
		h("p#loras-error.error", {hidden: true}));

	function offered() {
		return app.choices.loras.filter(lora => !lora.problem && model && lora.models.includes(model.id));
	}

	function draw() {
		const free = offered().filter(lora => !chosen.some(each => each.name === lora.name));
		box.replaceChildren(new Option(t("create.lora.add"), ""), ...free.map(lora => new Option(lora.title ? `${lora.name} — ${lora.title}` : lora.name, lora.name)));
		show(box, free.length > 0);
		show(element, free.length > 0 || chosen.length > 0);
		rows.replaceChildren(...chosen.map(row));
	}

	function row(each) {
		const lora = app.choices.loras.find(one => one.name === each.name);
		const number = h("output", each.scale.toFixed(2));
		const range = h("input", {type: "range", min: -1, max: 2, step: 0.05, value: each.scale, label: t("create.lora.scale", {name: each.name}),
			oninput: () => {each.scale = Number(range.value); number.textContent = each.scale.toFixed(2); onChange();}});
		return h("div.lora-row",
			h("div.lora-name", h("span", each.name), lora?.trigger_words?.length ? h("span.aside", lora.trigger_words.slice(0, 4).join(", ")) : null),
			range, number, iconButton("close", t("remove.name", {name: each.name}), {onclick: () => set(chosen.filter(one => one !== each))}));
	}

	function set(next, {quiet = false} = {}) {
		chosen = next.map(({name, scale}) => ({name, scale: scale ?? 1}));
		draw();
		if (!quiet) onChange();
	}

	box.addEventListener("change", () => {if (box.value) set([...chosen, {name: box.value, scale: 1}]);});
	return {element, set, setModel: next => {model = next; draw();}, get chosen() {return chosen;}};
}
