// The view Settings: language, theme, sound and notifications of this browser; who is signed in.

import { h } from "../dom.js";
import { beep } from "../notices.js";
import { applyTheme, readPreference, savePreference } from "../preferences.js";
import { showKeys } from "../shortcuts.js";
import { language, LANGUAGES, t } from "../text.js";

export function mount(app) {
  const { session, version } = app.choices;
  const segments = (name, label, rows, present, use) => h("div", { class: "setting" }, h("span", { class: "label", id: `label-${name}` }, label),
    h("div", { class: "segments", role: "group", "aria-labelledby": `label-${name}`, id: `set-${name}` }, rows.map(([value, text, tag]) =>
      h("button", { "aria-pressed": String(value === present), "data-value": value, lang: tag, onclick: (event) => {
        [...event.currentTarget.parentElement.children].forEach((each) => each.setAttribute("aria-pressed", String(each === event.currentTarget)));
        use(value);
      } }, text))));
  const check = (name, label, hint, change) => {
    const box = h("input", { type: "checkbox", id: `set-${name}`, onchange: () => change(box) });
    box.checked = Boolean(readPreference(name));
    return h("div", { class: "setting" }, h("label", { class: "check" }, box, h("span", {}, label)), h("p", { class: "hint" }, hint));
  };
  const scopes = session.scopes.map((scope) => t(`scope.${scope}`)).join(", ");
  const element = h("div", { class: "page narrow" },
    h("div", { class: "page-head" }, h("h2", {}, t("nav.settings"))),
    h("section", { class: "panel stack" },
      segments("language", t("settings.language"), Object.entries(LANGUAGES).map(([value, text]) => [value, text, value]), language, (value) => { savePreference("language", value); location.reload(); }),
      segments("theme", t("settings.theme"), ["auto", "light", "dark"].map((value) => [value, t(`theme.${value}`)]), readPreference("theme", "auto"), (value) => { savePreference("theme", value); applyTheme(); }),
      check("sound", t("settings.sound"), t("settings.sound.about"), (box) => { savePreference("sound", box.checked || null); if (box.checked) beep(); }),
      check("notify", t("settings.notify"), t("settings.notify.about"), async (box) => {
        if (box.checked && window.Notification && await Notification.requestPermission() !== "granted") { box.checked = false; app.toast(t("settings.notify.denied")); }
        savePreference("notify", box.checked || null);
      })),
    h("section", { class: "panel stack" }, h("h3", {}, t("settings.access")),
      h("dl", { class: "facts column" },
        h("div", {}, h("dt", {}, t("filter.owner")), h("dd", {}, (session.owner ?? "—").replace(/^(client|key):/, ""))),
        h("div", {}, h("dt", {}, t("settings.scopes")), h("dd", {}, scopes)),
        h("div", {}, h("dt", {}, t("settings.keys")), h("dd", {}, t(session.keys_needed ? "settings.keys.needed" : "settings.keys.open"))),
        h("div", {}, h("dt", {}, t("settings.version")), h("dd", {}, version)))),
    h("p", { class: "links" }, h("button", { class: "link", onclick: showKeys }, t("keys")), h("a", { href: "docs" }, t("farm.docs"))));
  return { element, first: () => element.querySelector("button"), open() {} };
}
