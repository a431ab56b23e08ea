// The view Farm: workers and what they do, queues by model and owner, history, events, keys.

import { get, post, retryJob } from "../api.js";
import { confirmAction } from "../dialog.js";
import { h, renew, show } from "../dom.js";
import { barChart, lineChart } from "../farm/charts.js";
import { about, ago, count, isSettled, seconds, statusLabel } from "../format.js";
import { readPreference, savePreference } from "../preferences.js";
import { addressOf } from "../router.js";
import { named, t } from "../text.js";

const POLL_MS = 5000;
const SPANS = [[1, "span.hour"], [24, "span.day"], [168, "span.week"], [720, "span.month"]];
const MEMORY = ["weights_on_device", "peak_at_1024", "free_before_loading"]; // of what a worker reports
const TONES = { ready: "good", unloaded: "good", loading: "busy", paused: "busy", draining: "busy", blocked: "bad", failed: "bad", lost: "bad" };

export function mount(app) {
  const admin = app.may("admin");
  const trouble = h("p", { class: "error boxed", role: "alert", hidden: true });
  const workers = h("div", { class: "worker-list", id: "workers" });
  const queues = h("section", { class: "panel", "aria-labelledby": "queue-title" });
  const charts = h("div", { class: "charts", id: "charts" });
  const events = h("section", { class: "panel", "aria-labelledby": "events-title", id: "events" });
  const keyRows = h("div", { class: "stack-small" });
  const keys = h("details", { class: "panel", hidden: !admin, id: "keys", ontoggle: () => { if (keys.open) readKeys(); } }, h("summary", {}, h("h3", {}, t("keys.title"))), keyRows);
  const spans = h("div", { class: "segments", role: "group", "aria-label": t("span") });
  const links = h("p", { class: "links" }, h("a", { href: "metrics" }, t("farm.metrics")), h("a", { href: "docs" }, t("farm.docs")), h("a", { href: "readyz" }, t("farm.ready.link")),
    app.choices.flower_port ? h("a", { href: `${location.protocol}//${location.hostname}:${app.choices.flower_port}`, rel: "noopener" }, "Flower") : null);
  const element = h("div", { class: "page" },
    h("div", { class: "page-head" }, h("h2", {}, t("nav.farm")), spans), trouble, workers, charts, h("div", { class: "two" }, queues, events), keys, links);
  let hours = readPreference("span", 24);
  let visible = false;
  let timer = null;

  async function act(run) {
    try { await run(); await refresh(); } catch (problem) { app.fail(problem); }
  }

  function drawSpans() {
    spans.replaceChildren(...SPANS.map(([value, key]) => h("button", { "aria-pressed": String(value === hours), onclick: () => { hours = value; savePreference("span", hours); drawSpans(); refresh(); } }, t(key))));
  }

  function drawWorkers(rows) {
    const shown = rows.filter((row) => row.live || row.state !== "stopped");
    workers.replaceChildren(...(shown.length ? shown.map(worker) : [h("p", { class: "empty" }, t("farm.noworker"))]));
  }

  function worker(row) {
    const { info } = row;
    const jobs = app.jobs.all().filter((job) => job.worker === row.name && !isSettled(job));
    const button = (action, label, properties = {}) => h("button", { class: "small", onclick: () => act(() => post(`v1/workers/${encodeURIComponent(row.name)}/${action}`)), ...properties }, label);
    const drain = h("button", { class: "small quiet-danger", onclick: async () => {
      if (await confirmAction({ title: t("worker.drain"), text: t("worker.drain.sure", { name: row.name }), action: t("worker.drain") })) act(() => post(`v1/workers/${encodeURIComponent(row.name)}/drain`));
    } }, t("worker.drain"));
    const memory = MEMORY.filter((name) => info.memory?.[name] >= 0.05).map((name) => `${named("memory", name)} ${info.memory[name].toFixed(1)} GB`).join(", ");
    const later = info.later_images;
    return h("article", { class: "worker panel", "data-worker": row.name },
      h("div", { class: "row between" }, h("h3", {}, row.name), h("span", { class: "badge", "data-tone": TONES[row.state] ?? "quiet" }, named("state", row.state))),
      row.message ? h("p", { class: "hint" }, row.message) : null,
      h("dl", { class: "facts" }, [
        [t("worker.device"), info.device_name ? `${info.device_name} (${row.device})` : row.device],
        [t("fact.model"), row.models.length > 1 ? row.models.map((each) => `${each.id} (${named("place", each.state)})`).join(", ") : row.model],
        info.memory_policy ? [t("worker.tier"), [info.memory_policy, info.dtype].filter(Boolean).join(", ")] : null,
        memory ? [t("worker.memory"), memory] : null,
        later ? [t("worker.speed"), t("worker.perimage", { time: seconds(later.median_seconds) })] : null,
        [t("worker.seen"), ago(row.seen_at)],
      ].filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      meter(t("worker.use"), row.running, row.capacity),
      jobs.length ? h("ul", { class: "rows tight" }, jobs.slice(0, 6).map((job) => h("li", {}, h("a", { href: addressOf("create", job.id) }, (job.input.prompt ?? t("kind.upscale")).slice(0, 70)),
        h("span", { class: "aside" }, job.progress ? `${Math.round(job.progress.value * 100)} %` : statusLabel(job.status))))) : null,
      admin && row.live ? h("div", { class: "row" }, row.state === "paused" ? button("resume", t("worker.resume")) : button("pause", t("worker.pause")), drain) : null);
  }

  function meter(label, value, most) {
    const bar = h("div", { class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": value }, h("span"));
    bar.style.setProperty("--done", most ? Math.min(value / most, 1) : 0);
    return h("div", { class: "meter" }, h("div", { class: "row between" }, h("span", { class: "aside" }, label), h("span", { class: "aside" }, `${value} / ${most}`)), bar);
  }

  function drawQueues(found) {
    const held = found.queues.reduce((sum, row) => sum + row.held, 0);
    queues.replaceChildren(h("div", { class: "row between" }, h("h3", { id: "queue-title" }, t("queue")),
      held ? h("button", { class: "small", id: "retry-held", onclick: retryHeld }, t("queue.retryheld", { n: held })) : ""),
    found.queues.length ? h("div", { class: "table-scroll", tabindex: 0 }, h("table", { class: "table" },
      h("thead", {}, h("tr", {}, ["fact.model", "filter.owner", "status.queued", "status.running", "status.held"].map((key, at) => h("th", { scope: "col", class: at > 1 ? "number" : null }, t(key))))),
      h("tbody", {}, found.queues.map((row) => h("tr", {}, h("td", {}, row.model), h("td", {}, row.owner.replace(/^(client|key):/, "")), [row.queued, row.running, row.held].map((value) => h("td", { class: "number" }, count(value))))))))
      : h("p", { class: "hint" }, t("queue.empty")));
  }

  async function retryHeld() {
    await act(async () => {
      for (;;) {
        const page = await get("v1/jobs", { status: "held", limit: 100 });
        if (!page.items.length) return;
        for (const job of page.items) await retryJob(job.id);
        if (!page.next_cursor) return;
      }
    });
  }

  function drawEvents(found) {
    events.replaceChildren(h("h3", { id: "events-title" }, t("events")), found.events.length ? h("ul", { class: "rows" }, found.events.slice(0, 30).map((each) =>
      h("li", {}, h("div", {}, h("strong", {}, named("event", each.kind), each.worker ? ` · ${each.worker}` : ""), h("p", { class: "hint" }, each.message || "")),
        h("span", { class: "row" }, h("span", { class: "aside" }, ago(each.at)),
          each.job_id ? h("a", { class: "button tiny", href: addressOf("create", each.job_id) }, t("open")) : null,
          each.kind === "job_held" ? h("button", { class: "tiny", onclick: () => act(() => retryJob(each.job_id)) }, t("stage.retry")) : null))))
      : h("p", { class: "hint" }, t("events.none")));
  }

  function drawCharts(found) {
    charts.replaceChildren(
      barChart(t("chart.jobs"), found.buckets, [{ name: t("status.succeeded"), value: (row) => row.succeeded, tone: "good" }, { name: t("status.failed"), value: (row) => row.failed, tone: "bad" }], count),
      lineChart(t("chart.wait"), found.buckets, (row) => row.wait_seconds),
      lineChart(t("chart.run"), found.buckets, (row) => row.run_seconds));
  }

  function drawKeys(found, usage) {
    const used = (owner) => usage.items.filter((row) => row.owner === owner).reduce((sum, row) => [sum[0] + row.images, sum[1] + row.render_seconds], [0, 0]);
    const limits = (row) => [row.max_queued && t("keys.queued", { n: row.max_queued }), row.submits_per_minute && t("keys.perminute", { n: row.submits_per_minute }),
      row.pixels_per_day && t("keys.pixels", { used: (row.pixels_today / 1e6).toFixed(0), n: (row.pixels_per_day / 1e6).toFixed(0) })].filter(Boolean).join(", ") || t("keys.nolimit");
    const owners = [...new Set([...found.items.map((row) => row.owner), ...usage.items.map((row) => row.owner)])];
    const of = (owner) => found.items.filter((row) => row.owner === owner);
    keyRows.replaceChildren(owners.length ? h("div", { class: "table-scroll", tabindex: 0 }, h("table", { class: "table" },
        h("thead", {}, h("tr", {}, [t("filter.owner"), t("keys.key"), t("keys.limits"), t("keys.images"), t("keys.time")].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, owners.map((owner) => { const [images, time] = used(owner); return h("tr", {}, h("td", {}, owner.replace(/^(client|key):/, "")),
          h("td", {}, of(owner).map((row) => h("div", {}, row.name, " ", row.active ? "" : h("span", { class: "badge", "data-tone": "bad" }, t("keys.revoked")))), of(owner).length ? "" : "—"),
          h("td", {}, of(owner).map((row) => h("div", {}, limits(row)))), h("td", { class: "number" }, count(images)), h("td", { class: "number" }, time ? about(time) : "—")); }))))
        : h("p", { class: "hint" }, t("keys.none")),
      h("p", { class: "hint" }, h("code", {}, "imagefarm keys create NAME"), " · ", h("code", {}, "imagefarm keys revoke ID")));
  }

  async function readKeys() {
    try {
      drawKeys(...await Promise.all([get("v1/keys"), get("v1/usage")]));
    } catch (problem) {
      keyRows.replaceChildren(h("p", { class: "trouble" }, problem.message));
    }
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const [rows, found] = await Promise.all([get("v1/workers"), get("v1/statistics", { hours })]);
      if (!visible) return;
      show(trouble, false);
      renew(element, () => { drawWorkers(rows.items); drawQueues(found); drawCharts(found); drawEvents(found); });
    } catch (problem) {
      trouble.textContent = problem.message;
      show(trouble, true);
    }
    if (visible) timer = setTimeout(() => (document.hidden ? null : refresh()), POLL_MS);
  }

  document.addEventListener("visibilitychange", () => { if (visible && !document.hidden) refresh(); });
  drawSpans();
  return {
    element,
    first: () => spans.querySelector("button"),
    open() { visible = true; refresh(); },
    close() { visible = false; clearTimeout(timer); },
  };
}

