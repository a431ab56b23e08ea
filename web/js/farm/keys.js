// Keys, limits and usage by owner, for administrators: create a key, which is shown once, and revoke one.

import {get, post, remove} from "../api.js";
import {confirmAction, openDialog} from "../dialog.js";
import {copyButton, h, show, smallButton as button, table} from "../dom.js";
import {about, count, ownerName} from "../format.js";
import {t} from "../text.js";

const SCOPES = ["submit", "read-own", "read-all", "admin"];
const LIMITS = {max_queued: 1, submits_per_minute: 1, pixels_per_day: 1e6, expires_in_days: 1}; // field: one of its units on the form

export function createKeys(app) {
	const rows = h("div.stack-small");
	const element = h("details.panel#keys", {ontoggle: () => {if (element.open) read();}}, h("summary", h("h3", t("keys.title"))), rows);

	async function read() {
		try {
			draw(...await Promise.all([get("v1/keys"), get("v1/usage")]));
		} catch (problem) {
			rows.replaceChildren(h("p.trouble", problem.message));
		}
	}

	function draw({items}, usage) {
		const used = owner => usage.items.filter(row => row.owner === owner).reduce((sum, row) => [sum[0] + row.images, sum[1] + row.render_seconds], [0, 0]);
		const owners = [...new Set([...items, ...usage.items].map(row => row.owner))];
		const cells = owner => {
			const own = items.filter(row => row.owner === owner);
			const [images, time] = used(owner);
			return h("tr", h("td", items.find(row => owner === `key:${row.id}`)?.name ?? ownerName(owner)), h("td", own.map(keyLine), own.length ? "" : "—"), h("td", own.map(row => h("div", limitsOf(row)))),
				h("td.number", count(images)), h("td.number", time ? about(time) : "—"));
		};
		rows.replaceChildren(owners.length ? table(".stacked", ["filter.owner", "keys.key", "keys.limits", "keys.images", "keys.time"].map((key, at) => h(`th${at > 2 ? ".number" : ""}`, {scope: "col"}, t(key))), owners.map(cells)) : h("p.hint", t("keys.none")),
			h("div.row", button(t("keys.create"), () => create(items.length === 0), {id: "key-create"})));
	}

	const keyLine = row => h("div.row", row.name,
		row.active ? h("button.tiny.quiet-danger", {label: `${t("keys.revoke")}: ${row.name}`, onclick: () => revoke(row)}, t("keys.revoke")) : h("span.badge", {"data-tone": "bad"}, t("keys.revoked")));

	const limitsOf = row => [row.max_queued && t("keys.queued", {n: row.max_queued}), row.submits_per_minute && t("keys.perminute", {n: row.submits_per_minute}),
		row.pixels_per_day && t("keys.pixels", {used: (row.pixels_today / 1e6).toFixed(0), n: (row.pixels_per_day / 1e6).toFixed(0)})].filter(Boolean).join(", ") || t("keys.nolimit");

	async function revoke(row) {
		if (!await confirmAction({title: `${t("keys.revoke")}: ${row.name}`, text: t("keys.revoke.sure"), action: t("keys.revoke")})) return;
		await remove(`v1/keys/${row.id}`);
		await read();
	}

	// `first`: from this key on, every caller needs one; so it administers, and this page signs in with it.
	function create(first) {
		const input = (name, properties = {}) => h("div.field", h("label", {for: `key-${name}`}, t(`keys.${name}`)), h("input", {id: `key-${name}`, autocomplete: "off", ...properties}));
		const trouble = h("p.error", {role: "alert", hidden: true});
		const form = h("form.stack", {onsubmit: send},
			first ? h("p.notes", t("keys.first")) : null,
			h("div.pair", input("name", {maxlength: 100, required: true}), input("owner", {maxlength: 120, placeholder: t("keys.self")})),
			h("fieldset", h("legend.label", t("settings.scopes")), h("div.checks", SCOPES.map((scope, at) =>
				h("label.check", h("input", {type: "checkbox", value: scope, checked: first ? scope === "admin" : at < 2, disabled: first}), h("span", t(`scope.${scope}`)))))),
			h("div.pair", Object.keys(LIMITS).map(name => input(name, {type: "number", min: 1, placeholder: t("keys.nolimit")}))),
			trouble, h("button.primary", {type: "submit"}, t("keys.create")));
		const dialog = openDialog({title: t("keys.create"), body: form});
		form.querySelector("input").focus();

		async function send(event) {
			event.preventDefault();
			const value = name => form.querySelector(`#key-${name}`).value.trim();
			const body = {name: value("name"), owner: value("owner"), scopes: [...form.querySelectorAll(":checked")].map(box => box.value)};
			for (const [name, unit] of Object.entries(LIMITS)) if (value(name)) body[name] = Number(value(name)) * unit;
			try {
				const made = await post("v1/keys", body);
				dialog.close();
				if (first) await post("v1/session", {key: made.key});
				openDialog({title: made.name, onclose: first ? () => location.reload() : read,
					body: h("div.stack", h("p", t("keys.once")), h("p.command", h("code#new-key", made.key), copyButton(made.key, t("signin.key"))))});
			} catch (problem) {
				trouble.textContent = problem.errors.map(each => each.message).join(" ") || problem.message;
				show(trouble, true);
			}
		}
	}

	return element;
}
