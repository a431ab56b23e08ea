// Line with the farm's state, and banner with the notice of the default model.

import { byId, copyButton, h, prose, setText, show } from "../dom.js";

export function createFarmLine() {
  const line = byId("farm");
  const text = byId("farm-text");
  const banner = byId("banner");
  let trouble = null;
  let models = [];
  let notice = null;

  function render() {
    const [tone, summary] = trouble ? ["bad", trouble.message] : summaryOf(models);
    line.dataset.tone = tone;
    setText(text, summary);
  }

  function renderBanner() {
    const now = models.find((model) => model.default)?.notice ?? null;
    if (now === notice) return;
    notice = now;
    show(banner, Boolean(notice));
    banner.replaceChildren(...(notice ? prose(notice, command) : []));
  }

  return {
    setModels(list) {
      models = list;
      trouble = null;
      render();
      renderBanner();
    },
    setTrouble(problem) {
      trouble = problem;
      if (models.length || problem) render();
    },
  };
}

function command(text) {
  return h("span", {}, h("code", {}, text), copyButton(text, "the command"));
}

function summaryOf(models) {
  const served = models.filter((model) => model.served);
  const ready = served.filter((model) => model.state === "ready");
  const others = served.filter((model) => model.state === "unloaded");
  const onDemand = others.length ? `; on demand: ${names(others)}` : "";
  if (!ready.length && others.length === served.length && others.length) return ["good", `Ready to load: ${names(others)}`];
  if (ready.length) {
    const workers = new Set(ready.flatMap((model) => model.workers)).size;
    return ["good", `${workers === 1 ? "1 worker" : `${workers} workers`} ready: ${names(ready)}${onDemand}`];
  }
  if (served.length) return ["busy", `${names(served)}: ${served[0].state}`];
  const wanted = models.find((model) => model.default);
  return ["bad", wanted?.reason ?? "No worker is up. Jobs are kept until one is."];
}

function names(models) {
  return models.map((model) => model.title).join(", ");
}
