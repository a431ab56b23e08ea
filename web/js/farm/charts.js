// Small charts of the farm's history, drawn as SVG: bars for counts, a line for means.

import {h, svg} from "../dom.js";
import {clock, moment, seconds} from "../format.js";
import {t} from "../text.js";

const WIDTH = 480;
const HEIGHT = 120;
const FLOOR = HEIGHT - 4;

const chart = (title, most) => svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "chart", role: "img",
	"aria-label": `${title}: ${t("chart.most", {value: most})}`});

// `rows`: buckets with `start`; `series`: [{name, value: (bucket) => number or null, tone}], stacked.
export function barChart(title, rows, series, unit = String) {
	const sums = rows.map(row => series.reduce((sum, each) => sum + (each.value(row) ?? 0), 0));
	const most = Math.max(1, ...sums);
	const step = WIDTH / rows.length;
	const drawing = chart(title, unit(most));
	rows.forEach((row, at) => {
		let base = FLOOR;
		for (const each of series) {
			const height = ((each.value(row) ?? 0) / most) * (FLOOR - 8);
			if (!height) continue;
			const bar = svg("rect", {x: at * step + step * 0.12, y: base - height, width: step * 0.76, height, class: `bar-${each.tone}`, rx: 1.5});
			bar.append(titled(row, `${each.name}: ${unit(each.value(row))}`));
			drawing.append(bar);
			base -= height;
		}
	});
	return figure(title, rows, drawing, unit(most), unit(sums.reduce((sum, each) => sum + each, 0)), t("chart.sum"));
}

export function lineChart(title, rows, value) {
	const known = rows.map((row, at) => [at, value(row)]).filter(([, each]) => each !== null);
	const most = Math.max(0.001, ...known.map(([, each]) => each));
	const step = WIDTH / rows.length;
	const x = at => at * step + step / 2;
	const y = each => FLOOR - (each / most) * (FLOOR - 8);
	const drawing = chart(title, seconds(most));
	if (known.length > 1) drawing.append(svg("path", {d: known.map(([at, each], i) => `${i ? "L" : "M"}${x(at).toFixed(1)} ${y(each).toFixed(1)}`).join(""), class: "line"}));
	for (const [at, each] of known) {
		const dot = svg("rect", {x: x(at) - 2.5, y: y(each) - 2.5, width: 5, height: 5, class: "point", rx: 1});
		dot.append(titled(rows[at], seconds(each)));
		drawing.append(dot);
	}
	const mean = known.length ? known.reduce((sum, [, each]) => sum + each, 0) / known.length : null;
	return figure(title, rows, drawing, known.length ? seconds(most) : "", mean === null ? "—" : seconds(mean), t("chart.mean"));
}

function titled(row, text) {
	const title = svg("title");
	title.textContent = `${moment(row.start)}\n${text}`;
	return title;
}

function figure(title, rows, drawing, most, total, label) {
	const days = rows.length > 1 && new Date(rows.at(-1).start) - new Date(rows[0].start) > 2 * 864e5;
	const at = row => (days ? new Date(row.start).toLocaleDateString(undefined, {month: "short", day: "numeric"}) : clock(row.start));
	return h("figure.chart-box.panel",
		h("figcaption", h("span", title), h("span", h("strong", total), " ", h("span.aside", label))),
		h("div.chart-frame", h("span.chart-most", most), drawing),
		h("div.chart-axis", h("span", rows.length ? at(rows[0]) : ""), h("span", rows.length ? at(rows[Math.floor(rows.length / 2)]) : ""), h("span", t("now"))));
}
