// A/B: up to four values of one setting, rendered side by side from one seed.

import {h, setText, show} from "../dom.js";
import {LABELS} from "../settings_of.js";
import {said, t} from "../text.js";

const MOST = 4;
const NUMBERS = ["num_inference_steps", "guidance_scale", "strength"];

export function createVariants(app, {onChange}) {
	const setting = h("select#variant-setting", {onchange: () => {draw(); onChange();}},
		["", "num_inference_steps", "guidance_scale", "recipe", "size", "model", "strength", "styles"].map(name =>
			new Option(t(LABELS[name] ?? "off"), name)));
	const change = () => {say(); onChange();};
	const values = h("input#variant-values", {oninput: change, label: t("variant.values"), "aria-describedby": "variant-hint", autocomplete: "off"});
	const boxes = h("div.checks");
	const hint = h("p.hint#variant-hint", {role: "status"});
	const element = h("div.field", h("label", {for: "variant-setting"}, t("variant")), setting, values, boxes, hint);

	function choices() {
		if (setting.value === "model") return app.choices.models.filter(row => row.accepts_jobs).map(row => [row.id, row.title]);
		if (setting.value === "recipe") return app.choices.recipes.map(row => [row.id, said(row.title)]);
		if (setting.value === "size") return ["512x512", "768x768", "1024x1024", "896x640", "640x896"].map(each => [each, each.replace("x", " × ")]);
		return app.choices.styles.map(row => [row.name, row.name]);
	}

	function draw() {
		const typed = NUMBERS.includes(setting.value);
		show(values, typed);
		show(boxes, Boolean(setting.value) && !typed);
		show(hint, Boolean(setting.value));
		values.placeholder = {num_inference_steps: "4, 8, 16", guidance_scale: "1, 2.5, 4", strength: "0.3, 0.6, 0.9"}[setting.value] ?? "";
		if (boxes.dataset.of === setting.value) return;
		boxes.dataset.of = setting.value;
		boxes.replaceChildren(...(typed || !setting.value ? [] : choices().map(([value, label]) =>
			h("label.check", h("input", {type: "checkbox", value, onchange: change}), h("span", label)))));
		say();
	}

	// The values that were given, each once, and the words that are none.
	function given() {
		if (!NUMBERS.includes(setting.value)) {
			return {found: [...boxes.querySelectorAll("input:checked")].map(input => (setting.value === "styles" ? [input.value] : input.value)), wrong: []};
		}
		const words = values.value.split(/[,\s;，、；]+/).filter(Boolean);
		const isNumber = word => Number.isFinite(Number(word));
		return {found: [...new Set(words.filter(isNumber).map(Number))], wrong: words.filter(word => !isNumber(word))};
	}

	// Says at the field what is not rendered.
	function say() {
		const {found, wrong} = given();
		const rest = found.slice(MOST);
		const trouble = wrong.length ? t("variant.wrong", {values: wrong.join(", ")})
			: rest.length ? t("variant.toomany", {n: MOST, values: rest.join(", ")})
				: found.length === 1 ? t("variant.few") : "";
		hint.classList.toggle("error", Boolean(trouble));
		setText(hint, trouble || t(NUMBERS.includes(setting.value) ? "variant.numbers" : "variant.choose", {n: MOST}));
	}

	draw();
	return {
		element,
		axis() {
			if (!setting.value) return null;
			const few = given().found.slice(0, MOST);
			return few.length > 1 ? {[setting.value]: few} : null;
		},
		clear() {setting.value = ""; values.value = ""; boxes.dataset.of = "-"; draw();},
	};
}
