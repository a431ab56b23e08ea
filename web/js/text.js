// Texts of the page, by key. A language is a module in text/ with the keys of text/en.js, and a row in LANGUAGES.

import {readPreference} from "./preferences.js";

export const LANGUAGES = {en: "English", zh: "中文"};

function chosen() {
	const wanted = readPreference("language");
	if (LANGUAGES[wanted]) return wanted;
	const offered = (navigator.languages ?? [navigator.language]).map(tag => tag.slice(0, 2).toLowerCase());
	return offered.find(tag => LANGUAGES[tag]) ?? "en";
}

export const language = chosen();
const {default: groups, CODES = {}, SENTENCES = []} = await import(`./text/${language}.js`);
const texts = {}; // by group.key
for (const [group, rows] of Object.entries(groups)) {
	if (typeof rows === "string") texts[group] = rows;
	else for (const [key, text] of Object.entries(rows)) texts[key.startsWith("_") ? group + key.replace(/^_$/, "") : `${group}.${key}`] = text;
}
document.documentElement.lang = language === "zh" ? "zh-CN" : language;

// t("live.step", {step: 3, steps: 8}); with `n`, the key with the suffix `_one` is used for 1 where there is one.
export function t(key, values = {}) {
	const text = (Number(values.n) === 1 && texts[`${key}_one`]) || texts[key];
	if (text === undefined) throw new Error(`no text ${key}`);
	return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

// What the farm says, in the page's language: sentences that the catalogue knows by their words, any other message by its code,
// with the farm's own words behind.
export function said(text, code = "") {
	const told = SENTENCES.reduce((all, [pattern, words]) => all.replace(pattern, words), text ?? "");
	return told === text && CODES[code] ? `${CODES[code]}（${text}）` : told;
}

// A text for a value of the farm, such as a state; the value itself when there is none.
export function named(group, value) {
	return texts[`${group}.${value}`] ?? String(value);
}
