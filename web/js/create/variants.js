// A/B: up to four values of one setting, rendered side by side from one seed.

import { h, show } from "../dom.js";
import { LABELS } from "../settings_of.js";
import { said, t } from "../text.js";

const MOST = 4;
const NUMBERS = ["num_inference_steps", "guidance_scale", "strength"];

export function createVariants(app, { onChange }) {
	const setting = h("select#variant-setting", { onchange: () => { draw(); onChange(); } },
		["", "num_inference_steps", "guidance_scale", "recipe", "size", "model", "strength", "styles"].map((name) =>
			new Option(t(LABELS[name] ?? "off"), name)));
	const values = h("input#variant-values", { oninput: onChange, "aria-label": t("variant.values"), autocomplete: "off" });
	const boxes = h("div.checks");
	const hint = h("p.hint");
	const element = h("div.field", h("label", { for: "variant-setting" }, t("variant")), setting, values, boxes, hint);

	function choices() {
		if (setting.value === "model") return app.choices.models.filter((row) => row.accepts_jobs).map((row) => [row.id, row.title]);
		if (setting.value === "recipe") return app.choices.recipes.map((row) => [row.id, said(row.title)]);
		if (setting.value === "size") return ["512x512", "768x768", "1024x1024", "896x640", "640x896"].map((each) => [each, each.replace("x", " × ")]);
		return app.choices.styles.map((row) => [row.name, row.name]);
	}

	function draw() {
		const typed = NUMBERS.includes(setting.value);
		show(values, typed);
		show(boxes, Boolean(setting.value) && !typed);
		show(hint, Boolean(setting.value));
		hint.textContent = t(typed ? "variant.numbers" : "variant.choose", { n: MOST });
		values.placeholder = { num_inference_steps: "4, 8, 16", guidance_scale: "1, 2.5, 4", strength: "0.3, 0.6, 0.9" }[setting.value] ?? "";
		if (boxes.dataset.of === setting.value) return;
		boxes.dataset.of = setting.value;
		boxes.replaceChildren(...(typed || !setting.value ? [] : choices().map(([value, label]) =>
			h("label.check", h("input", { type: "checkbox", value, onchange: onChange }), h("span", label)))));
	}

	draw();
	return {
		element,
		// The axis of a batch; null while fewer than two values are chosen.
		axis() {
			if (!setting.value) return null;
			const found = NUMBERS.includes(setting.value)
				? values.value.split(/[,\s;]+/).filter(Boolean).map(Number).filter(Number.isFinite)
				: [...boxes.querySelectorAll("input:checked")].map((input) => (setting.value === "styles" ? [input.value] : input.value));
			const few = [...new Set(found)].slice(0, MOST);
			return few.length > 1 ? { [setting.value]: few } : null;
		},
		clear() { setting.value = ""; values.value = ""; boxes.dataset.of = "-"; draw(); },
	};
}
