// A labelled X/Y grid of a batch as a table, each cell a picture.

import {get} from "../api.js";
import {h, table} from "../dom.js";
import {openDialog} from "../dialog.js";
import {statusLabel} from "../format.js";
import {thumbnail} from "../thumbnail.js";
import {LABELS} from "../settings_of.js";
import {t} from "../text.js";

const text = value => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

export async function openBatch(app, id, openImage) {
	const batch = await get(`v1/batches/${id}`);
	const names = [...new Set(batch.jobs.flatMap(item => Object.keys(item.axes)))];
	const varied = names.filter(name => new Set(batch.jobs.map(item => text(item.axes[name]))).size > 1);
	const [across = null, down = null] = varied;
	const values = name => (name ? [...new Set(batch.jobs.map(item => text(item.axes[name])))] : [""]);
	const cell = items => h("td", items.flatMap(item => (item.outputs.length
		? item.outputs.map(output => h("button.sheet-cell", {onclick: () => {dialog.close(); openImage(output.id);}}, thumbnail(output, text(output.seed), 480)))
		: [h("span.aside", statusLabel(item.status))])));
	const rows = values(down).map(row => h("tr", h("th", {scope: "row"}, row),
		values(across).map(column => cell(batch.jobs.filter(item => text(item.axes[down]) === (down ? row : text(item.axes[down])) && text(item.axes[across]) === (across ? column : text(item.axes[across])))))));
	const axis = name => (LABELS[name] ? t(LABELS[name]) : name ?? "");
	const sheet = table(".sheet", [[axis(down), axis(across)].filter(Boolean).join(" / "), ...values(across)], rows);
	sheet.style.setProperty("--columns", Math.max(2, values(across).length));
	const dialog = openDialog({
		title: batch.name ?? t("sheet"),
		class: "full-dialog",
		body: sheet,
		actions: [h("a.button", {href: `v1/batches/${id}/contact-sheet`, target: "_blank", rel: "noopener"}, t("sheet.open")),
			h("a.button", {href: `v1/exports?batch=${id}`, download: true}, t("gallery.zip"))],
	});
}
