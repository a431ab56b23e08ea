// Frame of all views: navigation, the line with the farm's state, the banner, short notices with undo.

import {byId, copyButton, h, icon, on, prose, setText, show} from "./dom.js";
import {addressOf} from "./router.js";
import {said, t} from "./text.js";

const TOAST_MS = 6000;

export function createShell(views) {
	document.querySelectorAll("[data-text]").forEach(element => setText(element, t(element.dataset.text)));
	document.querySelectorAll("[data-label]").forEach(element => element.ariaLabel = t(element.dataset.label));
	byId("nav").append(...views.map(view =>
		h("a", {href: addressOf(view), "data-view": view}, icon(view), h("span", t(`nav.${view}`)))));
	// What is outside an open dialog cannot be used: the notices move into it, and back.
	const box = byId("toasts");
	const place = host => {if (box.parentElement !== host) host.append(box);};
	on(document, "close", event => {if (event.target.contains(box)) place(document.body);}, true);
	// A picture that cannot be loaded leaves a calm word in its place.
	document.documentElement.style.setProperty("--broken", JSON.stringify(t("broken")));
	const mark = (event, broken) => {
		if (event.target.tagName === "IMG" && event.target.hasAttribute("src")) event.target.parentElement?.toggleAttribute("data-broken", broken);
	};
	on(document, "error", event => mark(event, true), true);
	on(document, "load", event => mark(event, false), true);
	const line = byId("farm");
	let trouble = null;
	let models = [];
	let notice = null;

	function render() {
		const [tone, summary] = trouble ? ["bad", trouble.message] : summaryOf(models);
		line.dataset.tone = tone;
		setText(byId("farm-text"), summary);
		line.title = summary;
	}

	function renderBanner() {
		const now = models.find(model => model.default)?.notice ?? null;
		if (now === notice) return;
		notice = now;
		show(byId("banner"), Boolean(notice));
		if (!notice) return;
		byId("banner").replaceChildren(h("span", ...prose(inWords(notice), command)), " ",
			h("a", {href: addressOf("models")}, t("banner.models")));
	}

	function toast(text, {action = null, label = "", tone = "quiet", milliseconds = TOAST_MS} = {}) {
		const done = () => {clearTimeout(timer); row.remove();};
		const row = h("div.toast", {role: "status", "data-tone": tone}, h("span", ...prose(text)),
			action && h("button.link", {onclick: () => {done(); action();}}, label),
			h("button.icon-button", {label: t("close"), onclick: done}, icon("close")));
		const timer = setTimeout(done, milliseconds);
		place([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body);
		box.append(row);
		return done;
	}

	return {
		toast,
		setModels(list) {
			models = list;
			trouble = null;
			render();
			renderBanner();
		},
		setTrouble(problem) {
			trouble = problem;
			if (models.length || problem) render();
		},
		mark(view) {
			byId("nav").querySelectorAll("a").forEach(link => {link.ariaCurrent = link.dataset.view === view ? "page" : null;});
		},
	};
}

// The farm's notice of its demo model, in the page's language; any other as it is.
function inWords(notice) {
	const found = /^(\S+) has random weights.*`(.+)`.*\(about (.+)\)/.exec(notice);
	return found ? t("banner.demo", {model: found[1], command: found[2], size: found[3]}) : said(notice);
}

function command(text) {
	return h("span", h("code", text), copyButton(text, t("copy.command")));
}

function summaryOf(models) {
	const served = models.filter(model => model.served);
	const ready = served.filter(model => model.state === "ready");
	const others = served.filter(model => model.state === "unloaded");
	if (!ready.length && others.length === served.length && others.length) {
		return ["good", t("farm.ondemand", {names: names(others)})];
	}
	if (ready.length) {
		const n = new Set(ready.flatMap(model => model.workers)).size;
		const more = others.length ? t("farm.more", {names: names(others)}) : "";
		return ["good", t("farm.ready", {n, names: names(ready)}) + more];
	}
	if (served.length) return ["busy", `${names(served)}: ${t(`state.${served[0].state}`)}`];
	const wanted = models.find(model => model.default);
	return ["bad", said(wanted?.reason) || t("farm.noworker")];
}

function names(models) {
	return models.map(model => model.title).join(", ");
}
