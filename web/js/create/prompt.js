// The prompt: its history, and completion of wildcards (`__`) and LoRAs (`<lora:`).

import {h, icon, iconButton, MENU, on, show} from "../dom.js";
import {openMenu} from "../dialog.js";
import {readPreference, savePreference} from "../preferences.js";
import {t} from "../text.js";

const KEPT = 60;
const OFFERED = 8;
const DYNAMIC = /__[\w*/-]+__|\{[^{}]*\|[^{}]*\}/;

export const isDynamic = text => DYNAMIC.test(text);

export function createPrompt(app) {
	const field = h("textarea#prompt", {name: "prompt", rows: 4, dir: "auto", autocomplete: "off", spellcheck: "true",
		placeholder: t("create.prompt.example"), "aria-describedby": "prompt-error prompt-count", "aria-autocomplete": "list", "aria-controls": "completion"});
	const list = h("ul#completion.completion", {role: "listbox", label: t("create.completion"), hidden: true});
	let found = [];
	let at = 0;
	let place = -1; // in the history; -1 is what is being typed
	let typed = "";

	const history = () => readPreference("prompts", []);

	function refresh() {
		const before = field.value.slice(0, field.selectionStart);
		const wildcard = /__([\w-]*)$/.exec(before);
		const open = wildcard && (before.match(/__/g).length % 2 === 1);
		const lora = /<lora:([^:<>]*)$/.exec(before);
		found = open ? offer(app.choices.wildcards, wildcard, "__", "__") : lora ? offer(app.choices.loras.filter(each => !each.problem), lora, "<lora:", ":1>") : [];
		at = 0;
		draw();
	}

	function offer(rows, match, head, tail) {
		const part = match[1].toLowerCase();
		return rows.filter(row => row.name.toLowerCase().includes(part)).slice(0, OFFERED)
			.map(row => ({text: head + row.name + tail, from: match.index, label: row.name, about: row.values?.slice(0, 3).join(", ") ?? ""}));
	}

	function draw() {
		show(list, found.length > 0);
		list.replaceChildren(...found.map((each, index) => h("li", {id: `completion-${index}`, role: "option", "aria-selected": index === at,
			onpointerdown: event => {event.preventDefault(); accept(each);}}, h("span", each.label), h("span.aside", each.about))));
		if (found.length) field.setAttribute("aria-activedescendant", `completion-${at}`);
		else field.removeAttribute("aria-activedescendant");
	}

	function accept(each) {
		field.setRangeText(each.text, each.from, field.selectionStart, "end");
		found = [];
		draw();
		field.dispatchEvent(new Event("input", {bubbles: true}));
	}

	function recall(step) {
		const rows = history();
		const next = Math.min(Math.max(place + step, -1), rows.length - 1);
		if (next === place) return;
		if (place === -1) typed = field.value;
		place = next;
		field.value = place === -1 ? typed : rows[place];
		field.dispatchEvent(new Event("input", {bubbles: true}));
	}

	on(field, "input", refresh);
	on(field, "blur", () => {found = []; draw();});
	on(field, "keydown", event => {
		if (event.altKey && ["ArrowUp", "ArrowDown"].includes(event.key)) {
			event.preventDefault();
			recall(event.key === "ArrowUp" ? 1 : -1);
		} else if (found.length && !event.isComposing) {
			if (["Tab", "Enter"].includes(event.key) && !event.ctrlKey && !event.metaKey) {event.preventDefault(); event.stopPropagation(); accept(found[at]);}
			else if (event.key === "Escape") {event.stopPropagation(); found = []; draw();}
			else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
				event.preventDefault();
				at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
				draw();
			}
		}
	});

	function openHistory(event) {
		const rows = history();
		if (!rows.length) {app.toast(t("create.nohistory")); return;}
		openMenu(event.currentTarget, rows.slice(0, 15).map(text => ({
			label: text.length > 90 ? `${text.slice(0, 90)}…` : text,
			run: () => {field.value = text; field.dispatchEvent(new Event("input", {bubbles: true})); field.focus();},
		})));
	}

	return {
		field,
		element: h("div.field.prompt-field",
			h("div.label-row", h("label", {for: "prompt"}, t("create.prompt"), " ", h("span.aside", t("create.prompt.languages"))),
				iconButton("clock", t("create.history"), {id: "history", ...MENU, onclick: openHistory})),
			h("div.prompt-box", field, list),
			h("p#prompt-count.hint.count", {hidden: true}),
			h("p#prompt-error.error", {hidden: true})),
		remember(text) {
			place = -1;
			savePreference("prompts", [text, ...history().filter(each => each !== text)].slice(0, KEPT));
		},
	};
}
