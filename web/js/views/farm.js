// The view Farm: workers and what they do, queues by model and owner, history, events, keys.

import {get, post, retryJob} from "../api.js";
import {confirmAction} from "../dialog.js";
import {errorBox, fact, h, progressBar, renew, segments, show, smallButton, table} from "../dom.js";
import {barChart, lineChart} from "../farm/charts.js";
import {createKeys} from "../farm/keys.js";
import {ago, count, gigabytes, isSettled, ownerName, seconds, statusLabel} from "../format.js";
import {readPreference, savePreference} from "../preferences.js";
import {addressOf} from "../router.js";
import {named, said, t} from "../text.js";

const POLL_MS = 5000;
const SPANS = [[1, "span.hour"], [24, "span.day"], [168, "span.week"], [720, "span.month"]];
const MEMORY = ["weights_on_device", "peak_at_1024", "free_before_loading"]; // of what a worker reports
const TONES = {ready: "good", unloaded: "good", loading: "busy", paused: "busy", quarantined: "bad", draining: "busy", blocked: "bad", failed: "bad", lost: "bad"};

// What a worker reports: a sentence, or the code of an error and a sentence.
function told(message) {
	const [, code, text] = /^([a-z_]+): (.+)/s.exec(message) ?? [null, "", message];
	return said(text, code);
}

export function mount(app) {
	const admin = app.may("admin");
	const trouble = errorBox();
	const workers = h("div.worker-list#workers");
	const queues = h("section.panel", {"aria-labelledby": "queue-title"});
	const charts = h("div.charts#charts");
	const events = h("section.panel#events", {"aria-labelledby": "events-title"});
	const keys = admin && createKeys(app);
	let hours = readPreference("span", 24);
	const spans = segments(SPANS.map(([value, key]) => [value, t(key)]), hours, value => {hours = value; savePreference("span", hours); refresh();}, {label: t("span")});
	const links = h("p.links", h("a", {href: "metrics"}, t("farm.metrics")), h("a", {href: "docs"}, t("farm.docs")), h("a", {href: "readyz"}, t("farm.ready.link")),
		app.choices.flower_port ? h("a", {href: `${location.protocol}//${location.hostname}:${app.choices.flower_port}`, rel: "noopener"}, "Flower") : null);
	const element = h("div.page",
		h("div.page-head.row.between", h("h2", t("nav.farm")), spans), trouble, workers, charts, h("div.two", queues, events), keys, links);
	let visible = false;
	let timer = null;

	async function act(run) {
		await run();
		await refresh();
	}

	function drawWorkers(rows) {
		const shown = rows.filter(row => row.live || row.state !== "stopped");
		workers.replaceChildren(...(shown.length ? shown.map(worker) : [h("p.empty", t("farm.noworker"))]));
	}

	function worker(row) {
		const {info} = row;
		const gpu = (row.live && info.gpu) || {}; // what the driver reports; nothing on a CPU
		const jobs = app.jobs.all().filter(job => job.worker === row.name && !isSettled(job));
		const order = action => act(() => post(`v1/workers/${encodeURIComponent(row.name)}/${action}`));
		const drain = async () => {
			if (await confirmAction({title: t("worker.drain"), text: t("worker.drain.sure", {name: row.name}), action: t("worker.drain")})) await order("drain");
		};
		const memory = MEMORY.filter(name => info.memory?.[name] >= 0.05).map(name => t(`memory.${name}`, {gb: info.memory[name].toFixed(1)})).join(", ");
		const later = info.later_images;
		return h("article.worker.panel", {"data-worker": row.name},
			h("div.row.between", h("h3", row.name), h("span.badge", {"data-tone": TONES[row.state] ?? "quiet"}, named("state", row.state))),
			row.message ? h("p.hint", told(row.message)) : null,
			h("dl.facts", [
				[t("worker.device"), info.device_name && info.device_name !== row.device ? `${info.device_name} (${row.device})` : row.device],
				[t("fact.model"), row.models.length > 1 ? row.models.map(each => `${each.id} (${named("place", each.state)})`).join(", ") : row.model],
				info.memory_policy ? [t("worker.tier"), [info.memory_policy, info.dtype].filter(Boolean).join(", ")] : null,
				memory ? [t("worker.memory"), memory] : null,
				later ? [t("worker.speed"), t("worker.perimage", {time: seconds(later.median_seconds)})] : null,
				gpu.temperature_celsius ? [t("worker.temperature"), [`${gpu.temperature_celsius} °C`, gpu.power_watts && `${Math.round(gpu.power_watts)} W`].filter(Boolean).join(", ")] : null,
				[t("worker.seen"), ago(row.seen_at)],
			].filter(Boolean).map(each => fact(...each))),
			meter(t("worker.use"), row.running, row.capacity),
			gpu.utilization === undefined ? null : meter(t("worker.load"), gpu.utilization, 1, `${Math.round(gpu.utilization * 100)} %`),
			gpu.memory_total_bytes ? meter(t("worker.memory"), gpu.memory_used_bytes, gpu.memory_total_bytes, `${gigabytes(gpu.memory_used_bytes)} / ${gigabytes(gpu.memory_total_bytes)}`) : null,
			jobs.length ? h("ul.rows.tight", jobs.slice(0, 6).map(job => h("li", h("a", {href: addressOf("create", job.id)}, (job.input.prompt ?? t("kind.upscale")).slice(0, 70)),
				h("span.aside", job.progress ? `${Math.round(job.progress.value * 100)} %` : statusLabel(job.status))))) : null,
			admin && row.live ? h("div.row", ["paused" === row.state ? "resume" : "pause"].map(action => smallButton(t(`worker.${action}`), () => order(action))),
				smallButton(t("worker.drain"), drain, {class: "small quiet-danger"})) : null);
	}

	function meter(label, value, most, text = `${value} / ${most}`) {
		return h("div.meter", h("div.row.between", h("span.aside", label), h("span.aside", text)), progressBar(label, most ? Math.min(value / most, 1) : 0, {role: "meter", "aria-valuetext": text}));
	}

	function drawQueues(found) {
		const held = found.queues.reduce((sum, row) => sum + row.held, 0);
		queues.replaceChildren(h("div.row.between", h("h3#queue-title", t("queue")),
			held ? h("button.small#retry-held", {onclick: retryHeld}, t("queue.retryheld", {n: held})) : ""),
		found.queues.length ? table("", ["fact.model", "filter.owner", "status.queued", "status.running", "status.held"].map((key, at) => h(`th${at > 1 ? ".number" : ""}`, {scope: "col"}, t(key))),
			found.queues.map(row => h("tr", h("td", row.model), h("td", ownerName(row.owner)), [row.queued, row.running, row.held].map(value => h("td.number", count(value))))))
			: h("p.hint", t("queue.empty")));
	}

	async function retryHeld() {
		await act(async () => {
			for (;;) {
				const page = await get("v1/jobs", {status: "held", limit: 100});
				if (!page.items.length) return;
				for (const job of page.items) await retryJob(job.id);
				if (!page.next_cursor) return;
			}
		});
	}

	function drawEvents(found) {
		events.replaceChildren(h("h3#events-title", t("events")), found.events.length ? h("ul.rows", found.events.slice(0, 30).map(each =>
			h("li", h("div", h("strong", named("event", each.kind), each.worker ? ` · ${each.worker}` : ""), h("p.hint", told(each.message))),
				h("span.row", h("span.aside", ago(each.at)),
					each.job_id ? h("a.button.tiny", {href: addressOf("create", each.job_id)}, t("open")) : null,
					each.kind === "job_held" ? h("button.tiny", {onclick: () => act(() => retryJob(each.job_id))}, t("stage.retry")) : null))))
			: h("p.hint", t("events.none")));
	}

	function drawCharts(found) {
		charts.replaceChildren(
			barChart(t("chart.jobs"), found.buckets, [{name: t("status.succeeded"), value: row => row.succeeded, tone: "good"}, {name: t("status.failed"), value: row => row.failed, tone: "bad"}], count),
			lineChart(t("chart.wait"), found.buckets, row => row.wait_seconds),
			lineChart(t("chart.run"), found.buckets, row => row.run_seconds));
	}

	async function refresh() {
		clearTimeout(timer);
		try {
			const [rows, found] = await Promise.all([get("v1/workers"), get("v1/statistics", {hours})]);
			if (!visible) return;
			show(trouble, false);
			renew(element, () => {drawWorkers(rows.items); drawQueues(found); drawCharts(found); drawEvents(found);});
		} catch (problem) {
			trouble.textContent = problem.message;
			show(trouble, true);
		}
		if (visible) timer = setTimeout(() => (document.hidden ? null : refresh()), POLL_MS);
	}

	document.addEventListener("visibilitychange", () => {if (visible && !document.hidden) refresh();});
	return {
		element,
		first: () => spans.querySelector("button"),
		open() {visible = true; refresh();},
		close() {visible = false; clearTimeout(timer);},
	};
}

