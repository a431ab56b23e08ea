// Dialogs that are made when they open and removed when they close.

import {h, icon, on} from "./dom.js";
import {t} from "./text.js";

let number = 0;

// Returns {close, element}. `onclose` is called once, however it closes.
export function openDialog({title, body, class: name = "", actions = [], onclose = () => {}}) {
	number += 1;
	const heading = `dialog-${number}`;
	const close = () => element.close();
	const element = h("dialog", {class: `dialog ${name}`, "aria-labelledby": heading},
		h("header.dialog-head", h("h2", {id: heading}, title),
			h("button.icon-button", {label: t("close"), onclick: close}, icon("close"))),
		h("div.dialog-body", body),
		actions.length ? h("footer.dialog-foot.row", actions) : null);
	on(element, "close", () => {element.remove(); onclose();});
	on(element, "click", event => {if (event.target === element) close();});
	document.body.append(element);
	element.showModal();
	return {close, element};
}

export function askText({title, label, value = "", action}) {
	return new Promise(resolve => {
		const field = h("input#asked", {maxlength: 100, value});
		let answer = null;
		const form = h("form.stack", {onsubmit: event => {
			event.preventDefault();
			answer = field.value.trim() || null;
			dialog.close();
		}}, h("label", {for: "asked"}, label), field, h("button.primary", {type: "submit"}, action));
		const dialog = openDialog({title, body: form, class: "small-dialog", onclose: () => resolve(answer)});
		field.focus();
		field.select();
	});
}

export function confirmAction({title, text, action}) {
	return new Promise(resolve => {
		let answer = false;
		const dialog = openDialog({
			title,
			body: h("p", text),
			class: "small-dialog",
			actions: [h("button", {onclick: () => dialog.close()}, t("cancel")),
				h("button.danger", {onclick: () => {answer = true; dialog.close();}}, action)],
			onclose: () => resolve(answer),
		});
	});
}

export function openMenu(anchor, items) {
	const close = () => {menu.remove(); document.removeEventListener("pointerdown", outside, true); anchor.ariaExpanded = false;};
	const outside = event => {if (!menu.contains(event.target)) close();};
	const menu = h("div.menu", {role: "menu"}, items.map(({label, run, tone}) =>
		h("button", {role: "menuitem", "data-tone": tone, onclick: () => {close(); anchor.focus(); run();}}, label)));
	on(menu, "keydown", event => {
		const rows = [...menu.children];
		const at = rows.indexOf(document.activeElement);
		const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
		if (step) {event.preventDefault(); rows[(at + step + rows.length) % rows.length].focus();}
		if (event.key === "Escape") {event.preventDefault(); event.stopPropagation(); close(); anchor.focus();}
	});
	(anchor.closest("dialog") ?? document.body).append(menu);
	const box = anchor.getBoundingClientRect();
	const left = Math.min(box.left, window.innerWidth - menu.offsetWidth - 12);
	const below = box.bottom + 6 + menu.offsetHeight < window.innerHeight;
	menu.style.left = `${Math.max(12, left)}px`;
	menu.style.top = `${below ? box.bottom + 6 : Math.max(12, box.top - menu.offsetHeight - 6)}px`;
	anchor.ariaExpanded = true;
	on(document, "pointerdown", outside, true);
	menu.children[0]?.focus();
}
