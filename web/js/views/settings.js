// The view Settings: language, theme, sound and notifications of this browser; who is signed in.

import {fact, h, segments} from "../dom.js";
import {ownerName} from "../format.js";
import {beep} from "../notices.js";
import {applyTheme, readPreference, savePreference} from "../preferences.js";
import {showKeys} from "../shortcuts.js";
import {language, LANGUAGES, t} from "../text.js";

export function mount(app) {
	const {session, version} = app.choices;
	const choice = (name, rows, present, use) => h("div.setting", h("span.label", {id: `label-${name}`}, t(`settings.${name}`)),
		segments(rows, present, value => {savePreference(name, value); use();}, {"aria-labelledby": `label-${name}`, id: `set-${name}`}));
	const check = (name, label, hint, change) => {
		const box = h("input", {type: "checkbox", id: `set-${name}`, onchange: () => change(box)});
		box.checked = Boolean(readPreference(name));
		return h("div.setting", h("label.check", box, h("span", label)), h("p.hint", hint));
	};
	const scopes = session.scopes.map(scope => t(`scope.${scope}`)).join(", ");
	const element = h("div.page.narrow",
		h("div.page-head.row.between", h("h2", t("nav.settings"))),
		h("section.panel.stack",
			choice("language", Object.entries(LANGUAGES).map(([value, text]) => [value, text, {lang: value}]), language, () => location.reload()),
			choice("theme", ["auto", "light", "dark"].map(value => [value, t(`theme.${value}`)]), readPreference("theme", "auto"), applyTheme),
			check("sound", t("settings.sound"), t("settings.sound.about"), box => {savePreference("sound", box.checked || null); if (box.checked) beep();}),
			check("notify", t("settings.notify"), t("settings.notify.about"), async box => {
				if (box.checked && window.Notification && await Notification.requestPermission() !== "granted") {box.checked = false; app.toast(t("settings.notify.denied"));}
				savePreference("notify", box.checked || null);
			})),
		h("section.panel.stack", h("h3", t("settings.access")),
			h("dl.facts.column",
				fact(t("filter.owner"), ownerName(session.owner ?? "—")),
				fact(t("settings.scopes"), scopes),
				fact(t("settings.keys"), t(session.keys_needed ? "settings.keys.needed" : "settings.keys.open")),
				fact(t("settings.version"), version))),
		h("p.links", h("button.link", {onclick: showKeys}, t("keys")), h("a", {href: "docs"}, t("farm.docs"))));
	return {element, first: () => element.querySelector("button"), open() {}};
}
