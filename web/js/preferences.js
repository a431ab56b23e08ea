// What this browser remembers: language, theme, the form, the history of prompts.

const PREFIX = "imagefarm.";

export function readPreference(name, otherwise = null) {
	try {
		return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
	} catch {
		return otherwise;
	}
}

export function savePreference(name, value) {
	try {
		if (value === null) localStorage.removeItem(PREFIX + name);
		else localStorage.setItem(PREFIX + name, JSON.stringify(value));
	} catch {
		// Private windows may refuse storage; the value then lives as long as the page.
	}
}

// `auto` follows the browser.
export function applyTheme() {
	const theme = readPreference("theme", "auto");
	if (theme === "auto") document.documentElement.removeAttribute("data-theme");
	else document.documentElement.dataset.theme = theme;
}
