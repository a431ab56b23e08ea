// Keys that work on every view, and the list of all keys (Shift+?).

import {h, icon} from "./dom.js";
import {openDialog} from "./dialog.js";
import {t} from "./text.js";

const GO = {c: "create", g: "gallery", m: "models", f: "farm", s: "settings"};
const KEYS = [
	["keys.everywhere", [["?", "keys.help"], ["g c", "nav.create"], ["g g", "nav.gallery"], ["g m", "nav.models"], ["g f", "nav.farm"],
		["g s", "nav.settings"], ["Esc", "close"]]],
	["nav.create", [["Ctrl Enter", "create.render"], ["Alt ↑ ↓", "create.history"], ["Tab", "keys.complete"]]],
	["nav.gallery", [["← ↑ ↓ →", "keys.move"], ["Enter", "open"], ["x", "keys.choose"], ["Shift ← →", "keys.range"], ["1 … 5", "keys.rate"],
		["0", "keys.unrate"], ["c", "keys.compare"], ["u", "image.use"], ["d", "image.download"], ["Del", "delete"]]],
	["keys.viewer", [["← →", "keys.next"], ["+ −", "keys.zoom"], ["i", "keys.details"]]],
];

export function isTyping(event) {
	return event.target.closest?.("input, textarea, select, [contenteditable]") && event.target.type !== "checkbox";
}

export function createShortcuts(view, go) {
	let armed = 0; // until when the second key of "g …" counts
	document.addEventListener("keydown", event => {
		if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(event)) return;
		if (event.key === "?") {event.preventDefault(); showKeys(); return;}
		if (document.querySelector("dialog[open]")) return;
		if (event.timeStamp < armed && GO[event.key]) {
			armed = 0;
			event.preventDefault();
			go(GO[event.key]);
			return;
		}
		armed = event.key === "g" ? event.timeStamp + 1200 : 0;
		if (!armed) view()?.key?.(event);
	});
}

export function showKeys() {
	openDialog({
		title: t("keys"),
		class: "keys-dialog",
		body: h("div.keys", KEYS.map(([title, rows]) => h("section", h("h3", t(title)),
			h("dl", rows.map(([keys, text]) => h("div", h("dt", keys.split(" ").map(key => h("kbd", key))),
				h("dd", t(text)))))))),
	});
}

export function keysButton() {
	return h("button.icon-button", {label: t("keys"), title: `${t("keys")} (?)`, onclick: showKeys},
		icon("help"));
}
