// Form for a job: prompt, size, model; all other settings start with the model's defaults.

import {readParameters} from "../api.js";
import {announce, byId, copyText, h, icon, iconButton, setText, show} from "../dom.js";
import {count as numberText} from "../format.js";
import {readPreference, savePreference} from "../preferences.js";
import {addressOf} from "../router.js";
import {MAIN} from "../settings_of.js";
import {said, t} from "../text.js";
import {createEstimate} from "./estimate.js";
import {errorOf, field, number, sentence, shortcut, slider, whole} from "./fields.js";
import {createLoras} from "./loras.js";
import {createPrompt, isDynamic} from "./prompt.js";
import {createSizes} from "./size_tiles.js";
import {createStart} from "./start.js";
import {createStyles, negativeTemplates} from "./styles.js";
import {createVariants} from "./variants.js";

const FIELDS = {
	prompt: ["prompt", String],
	negative_prompt: ["negative", String],
	width: ["width", number],
	height: ["height", number],
	num_inference_steps: ["steps", number],
	guidance_scale: ["guidance", number],
	seed: ["seed", number],
	num_images: ["count", number],
};
const FROM_MODEL = ["width", "height", "num_inference_steps", "guidance_scale"];
const SHARED = [...MAIN, "num_images"];
const LONG_PROMPT = 1000;

export function createForm(app, {submit}) {
	const prompt = createPrompt(app);
	const sizes = createSizes({onChoose: size => {put("width", size.width); put("height", size.height); keep();}});
	const styles = createStyles(app, {onChange: () => keep(), texts: () => ({prompt: input("prompt").value, negative_prompt: input("negative_prompt").value})});
	const loras = createLoras(app, {onChange: () => keep()});
	const start = createStart(app, {onChange: change => {if (change?.size) matchSize(change.size); keep();}});
	const variants = createVariants(app, {onChange: () => keep()});
	const estimate = createEstimate();
	const part = id => form.querySelector(`#${id}`);
	const input = name => part(FIELDS[name][0]);
	let models = [];
	let model = null;
	let carried = {}; // settings of an edited job that the form has no field for
	let sending = false;
	let touched = false;
	let away = false; // what is said is that the farm does not answer: no longer true once it does

	const modelBox = h("select#model", {name: "model", "aria-describedby": "model-about model-error"});
	const recipeBox = h("select#recipe");
	const dynamicBox = h("input#dynamic", {type: "checkbox", checked: true});
	const dynamicRow = h("label.check#dynamic-row", {hidden: true}, dynamicBox, h("span", t("create.dynamic")));
	const templateBox = h("select#negative-template", {label: t("create.template")});
	const more = h("details#more.more",
		h("summary", t("create.more"), " ", h("span#more-summary.aside")),
		h("div.more-body",
			field("recipe", t("create.recipe"), recipeBox, h("p#recipe-about.hint")),
			slider("steps", "num_inference_steps", t("fact.steps"), {min: 1, step: 1, inputmode: "numeric"}),
			slider("guidance", "guidance_scale", t("fact.guidance"), {min: 1, step: 0.5, inputmode: "decimal"}, t("create.guidance.off")),
			h("div.pair",
				field("seed", t("fact.seed"), h("div.with-buttons",
					whole("seed", "seed", {type: "text", autocomplete: "off", placeholder: t("create.seed.random")}),
					iconButton("dice", t("create.seed.dice"), {id: "seed-dice", onclick: () => {put("seed", Math.floor(Math.random() * 2 ** 32)); keep();}}),
					iconButton("close", t("create.seed.clear"), {id: "seed-clear", hidden: true, onclick: () => {put("seed", ""); keep(); input("seed").focus();}}))),
				field("count", t("create.count"), whole("count", "num_images", {min: 1, max: 16, value: 1}))),
			h("div.field", h("div.label-row", h("label", {for: "negative"}, t("create.negative")), templateBox),
				h("textarea#negative", {name: "negative_prompt", rows: 2, dir: "auto", autocomplete: "off", "aria-describedby": "negative-hint negative-error"}),
				h("p#negative-hint.hint"), errorOf("negative")),
			h("div.pair",
				field("width", t("create.width"), whole("width", "width")),
				field("height", t("create.height"), whole("height", "height"))),
			loras.element, variants.element,
			h("div.row.between",
				h("button#reset.link", {onclick: reset}, t("create.reset")),
				h("button#share.link", {onclick: share}, icon("link"), t("create.share")))));
	const keepBox = h("input#keep-generating", {type: "checkbox"});
	const form = h("form#compose.compose.panel", {label: t("create.form"), novalidate: true},
		prompt.element,
		styles.element,
		dynamicRow,
		h("div.field",
			h("div.label-row", h("span.label", t("create.size"), " ", h("span#size-now.aside")),
				iconButton("swap", t("create.swap"), {id: "size-swap", onclick: () => sizes.swap()})),
			sizes.element, errorOf("size")),
		field("model", t("fact.model"), modelBox, h("p#model-about.hint")),
		start.element,
		more,
		h("div.submit-bar", h("p#form-error.error.boxed", {role: "alert", hidden: true}), estimate.element,
			h("div.submit-row",
				h("button#submit.primary", {type: "submit"}, t("create.render"), " ", h("kbd#submit-keys", {"aria-hidden": "true"}, shortcut())),
				h("label.check.keep", {title: t("create.keep.about")}, keepBox, h("span", t("create.keep"))))));

	const put = (name, value) => {
		input(name).value = value ?? "";
		const range = part(`${FIELDS[name][0]}-range`);
		if (range && value !== undefined && value !== "") range.value = value;
	};

	function matchSize({width, height}) {
		if (!model) return;
		const near = Math.sqrt((number(input("width").value) * number(input("height").value)) / (width * height)) || 1;
		const {multiple, min_side: least, max_side: most} = model.limits;
		const side = value => Math.min(most, Math.max(least, Math.round((value * near) / multiple) * multiple));
		put("width", side(width));
		put("height", side(height));
	}

	function setModels(list) {
		const first = models.length === 0;
		if (away) clearErrors();
		away = false;
		models = list;
		fillModelBox();
		if (first) restore();
		refresh();
	}

	function fillModelBox() {
		const options = models.map(row => {
			const option = new Option(row.accepts_jobs ? row.title : t("create.model.away", {title: row.title}), row.id);
			option.disabled = !row.accepts_jobs;
			return option;
		});
		const before = modelBox.value;
		const same = modelBox.options.length === options.length
			&& options.every((option, i) => option.text === modelBox.options[i].text && option.disabled === modelBox.options[i].disabled);
		if (same) return;
		modelBox.replaceChildren(...options);
		if (before) modelBox.value = before;
	}

	function restore() {
		const draft = readPreference("draft", {});
		const wanted = models.find(row => row.id === draft.model && row.accepts_jobs) ?? models.find(row => row.default) ?? models[0];
		templateBox.replaceChildren(new Option(t("create.template"), ""), ...negativeTemplates(app).map(style => new Option(style.name, style.name)));
		useModel(wanted);
		Object.keys(FIELDS).filter(name => draft[name] !== undefined && wanted.id === draft.model).forEach(name => put(name, draft[name]));
		if (!input("prompt").value) put("prompt", draft.prompt);
		styles.set(draft.styles ?? [], {quiet: true});
		loras.set(draft.loras ?? [], {quiet: true});
		start.restore(draft.start);
		dynamicBox.checked = draft.dynamic ?? true;
		more.open = Boolean(draft.open);
		recipeBox.value = draft.recipe ?? "";
		if (!input("prompt").value.trim()) estimate.clear();
	}

	// Values equal to the old model's defaults change to the new ones; values that the user changed are kept.
	function useModel(next) {
		const untouched = FROM_MODEL.filter(name => !model || number(input(name).value) === model.defaults[name]);
		model = next;
		modelBox.value = next.id;
		sizes.setModel(next);
		loras.setModel(next);
		start.setModel(next);
		const ranges = {steps: [1, Math.min(next.limits.max_steps, Math.max(30, next.defaults.num_inference_steps * 4))], guidance: [1, Math.max(10, next.defaults.guidance_scale * 2)]};
		for (const [name, [least, most]] of Object.entries(ranges)) Object.assign(part(`${name}-range`), {min: least, max: most});
		untouched.forEach(name => put(name, next.defaults[name]));
		for (const side of ["width", "height"]) {
			Object.assign(input(side), {min: next.limits.min_side, max: next.limits.max_side, step: next.limits.multiple});
		}
		input("num_inference_steps").max = next.limits.max_steps;
		input("guidance_scale").disabled = part("guidance-range").disabled = !next.guidance;
		const before = recipeBox.value;
		recipeBox.replaceChildren(new Option(t("create.recipe.none"), ""), ...app.choices.recipes.map(recipe => {
			const fitted = recipe.models.find(row => row.model === next.id);
			const cost = fitted && fitted.cost_factor !== 1 ? ` · ${fitted.cost_factor}×` : "";
			return new Option(said(recipe.title) + cost, recipe.id);
		}));
		recipeBox.value = before;
	}

	function useRecipe() {
		const recipe = app.choices.recipes.find(row => row.id === recipeBox.value);
		const fitted = recipe?.models.find(row => row.model === model.id);
		const values = fitted ?? model.defaults;
		put("num_inference_steps", values.num_inference_steps);
		put("guidance_scale", values.guidance_scale);
	}

	function refresh() {
		if (!model) return;
		const size = {width: number(input("width").value), height: number(input("height").value)};
		sizes.mark(size);
		setText(part("size-now"), `${size.width ?? "?"} × ${size.height ?? "?"}`);
		const current = models.find(row => row.id === model.id) ?? model;
		setText(part("model-about"), said(current.reason ?? current.about));
		setText(part("more-summary"), summary());
		setText(part("negative-hint"), negativeHint());
		show(part("seed-clear"), input("seed").value.trim() !== "");
		const recipe = app.choices.recipes.find(row => row.id === recipeBox.value);
		setText(part("recipe-about"), recipe ? said(recipe.models.find(row => row.model === model.id)?.warning ?? recipe.about) : "");
		show(dynamicRow, isDynamic(input("prompt").value));
		const length = input("prompt").value.length;
		show(part("prompt-count"), length >= LONG_PROMPT);
		setText(part("prompt-count"), t("create.characters", {n: numberText(length)}));
	}

	function summary() {
		const seed = input("seed").value.trim();
		const images = number(input("num_images").value) ?? 1;
		return [
			t("create.summary.steps", {n: input("num_inference_steps").value}),
			seed ? t("create.summary.seed", {seed}) : null,
			images > 1 ? t("images", {n: images}) : null,
			loras.chosen.length ? t("create.summary.loras", {n: loras.chosen.length}) : null,
			variants.axis() ? "A/B" : null,
		].filter(Boolean).join(", ");
	}

	function negativeHint() {
		if (model.negative_prompt === "none") return t("create.negative.unused", {model: model.title});
		const on = (number(input("guidance_scale").value) ?? 1) > 1;
		return t(on ? "create.negative.on" : "create.negative.off");
	}

	function request() {
		const values = Object.fromEntries(Object.entries(FIELDS).map(([name, [, read]]) => [name, read(input(name).value)]));
		if (values.seed === undefined) values.seed = -1;
		if (!values.negative_prompt.trim()) delete values.negative_prompt;
		if (!model.guidance) delete values.guidance_scale;
		if (styles.names.length) values.styles = styles.names;
		if (loras.chosen.length) values.loras = loras.chosen;
		if (dynamicBox.checked && isDynamic(values.prompt)) values.dynamic = true;
		return {...carried, ...values, ...start.fields(), model: model.id};
	}

	async function send({fresh = false} = {}) {
		if (sending || !model) return null;
		clearErrors();
		if (!input("prompt").value.trim()) {
			showFieldErrors([{field: "prompt", message: t("create.describe")}]);
			return null;
		}
		sending = true;
		part("submit").ariaBusy = true;
		try {
			prompt.remember(input("prompt").value.trim());
			return await submit({...request(), ...(fresh ? {seed: -1} : {})}, variants.axis());
		} catch (problem) {
			keepBox.checked = false;
			showProblem(problem);
			return null;
		} finally {
			sending = false;
			part("submit").ariaBusy = null;
		}
	}

	function showProblem(problem) {
		const rest = showFieldErrors(problem.errors ?? []);
		const box = part("form-error");
		const unplaced = problem.errors?.length ? rest.map(error => error.message).join(" ") : problem.message;
		setText(box, unplaced);
		show(box, Boolean(unplaced));
		away = problem.code === "unreachable";
	}

	// Shows each message at its field and focuses the first; returns errors without a visible field.
	function showFieldErrors(errors) {
		const idOf = name => FIELDS[name.split(".").at(-1)]?.[0] ?? name.split(".")[0];
		const boxOf = ({field}) => byId(`${idOf(field)}-error`);
		const placed = errors.filter(each => boxOf(each)?.parentElement.closest("[hidden]") === null);
		placed.forEach(each => {
			const box = boxOf(each), control = byId(idOf(each.field));
			setText(box, sentence(each.message));
			show(box, true);
			if (control) control.ariaInvalid = true;
			if (box.closest("#more")) more.open = true;
		});
		if (placed.length) {
			(byId(idOf(placed[0].field)) ?? prompt.field).focus();
			announce(placed.map(({message}) => message).join(" "));
		}
		return errors.filter(each => !placed.includes(each));
	}

	function clearErrors() {
		form.querySelectorAll(".error").forEach(box => show(box, false));
		form.querySelectorAll("[aria-invalid]").forEach(each => each.ariaInvalid = null);
	}

	// `farm`: whether init_image is an image of the farm, rather than an upload.
	function fill(settings, {farm = false} = {}) {
		const wanted = models.find(row => row.id === settings.model && row.accepts_jobs);
		if (wanted && wanted.id !== model.id) useModel(wanted);
		carried = {};
		const elsewhere = ["model", "styles", "loras", "dynamic", "init_image", "mask", "mask_feather", "strength", "recipe"];
		for (const [name, value] of Object.entries(settings)) {
			if (FIELDS[name]) put(name, value);
			else if (!elsewhere.includes(name)) carried[name] = value;
		}
		styles.set(settings.styles ?? [], {quiet: true});
		loras.set(settings.loras ?? [], {quiet: true});
		start.fill(settings, farm);
		if (settings.dynamic !== undefined) dynamicBox.checked = Boolean(settings.dynamic);
		clearErrors();
		keep();
		prompt.field.focus();
		form.scrollIntoView({block: "nearest"});
	}

	function keep() {
		refresh();
		const texts = Object.fromEntries(Object.keys(FIELDS).map(name => [name, input(name).value]));
		savePreference("draft", {...texts, model: model?.id, styles: styles.names, loras: loras.chosen, start: start.keep(),
			dynamic: dynamicBox.checked, open: more.open, recipe: recipeBox.value});
		askEstimate();
	}

	// Only once the form is used: opening the page sends no further request.
	function askEstimate() {
		if (touched && model) estimate.ask(request(), Object.values(variants.axis() ?? {one: [1]})[0].length);
	}

	const touch = () => { if (!touched) {touched = true; askEstimate();} };

	function reset() {
		FROM_MODEL.forEach(name => put(name, model.defaults[name]));
		["seed", "negative_prompt"].forEach(name => put(name, ""));
		put("num_images", 1);
		recipeBox.value = "";
		styles.set([], {quiet: true});
		loras.set([], {quiet: true});
		start.set(null, {quiet: true});
		variants.clear();
		carried = {};
		clearErrors();
		keep();
	}

	async function share() {
		const values = request();
		const shared = Object.fromEntries(SHARED.filter(name => values[name] !== undefined && values[name] !== -1).map(name => [name, values[name]]));
		if (values.styles) shared.styles = values.styles.join("|");
		await copyText(`${location.origin}${location.pathname}${addressOf("create", "", shared)}`);
		app.toast(t("create.share.copied"));
	}

	function fillShared(values) {
		const settings = {};
		for (const [name, text] of Object.entries(values)) {
			if (FIELDS[name]) settings[name] = FIELDS[name][1](text);
			else if (name === "model") settings.model = text;
			else if (name === "styles") settings.styles = text.split("|");
		}
		fill(settings);
	}

	// A dropped or pasted picture fills the form with its settings, where it has any; otherwise it is the start image.
	async function takeFile(blob, {asStart = false} = {}) {
		if (!asStart) {
			try {
				const found = await readParameters(blob);
				if (found.fields.prompt) {
					fill(found.fields);
					app.toast(t("create.read", {source: found.source ?? "PNG"}), {label: t("create.asstart"), action: () => start.take(blob)});
					if (found.warnings.length) app.toast(found.warnings.map(text => said(text)).join(" "), {tone: "bad", milliseconds: 12000});
					return;
				}
			} catch (problem) {
				if (problem.status !== 415 && problem.status !== 422) {app.fail(problem); return;}
			}
		}
		await start.take(blob);
	}

	form.addEventListener("submit", event => {event.preventDefault(); send();});
	form.addEventListener("input", event => {
		if (event.target.id === "steps-range" || event.target.id === "guidance-range") part(`${event.target.id.replace("-range", "")}`).value = event.target.value;
		if (["steps", "guidance"].includes(event.target.id) && event.target.value) part(`${event.target.id}-range`).value = event.target.value;
		if (/^(steps|guidance)/.test(event.target.id)) recipeBox.value = "";
		touch();
		keep();
	});
	form.addEventListener("focusin", touch);
	form.addEventListener("pointerenter", touch);
	form.addEventListener("keydown", event => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {event.preventDefault(); send();}
	});
	more.addEventListener("toggle", () => {if (model) keep();});
	modelBox.addEventListener("change", () => {useModel(models.find(row => row.id === modelBox.value)); keep();});
	recipeBox.addEventListener("change", () => {useRecipe(); keep();});
	templateBox.addEventListener("change", () => {
		const style = app.choices.styles.find(row => row.name === templateBox.value);
		templateBox.value = "";
		if (!style) return;
		put("negative_prompt", [input("negative_prompt").value.trim(), style.negative_prompt].filter(Boolean).join(", "));
		keep();
	});
	form.addEventListener("paste", event => {
		const file = [...event.clipboardData.files].find(each => each.type.startsWith("image/"));
		if (file) {event.preventDefault(); takeFile(file);}
	});

	return {element: form, first: prompt.field, start, setModels, fill, fillShared, showProblem, takeFile, send, get keeps() {return keepBox.checked;},
		stop: () => {keepBox.checked = false;}};
}
