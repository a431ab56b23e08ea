// Recent jobs as cards; running ones show their progress.

import { byId, h, show } from "../dom.js";
import { isSettled, STATUS_LABELS } from "../format.js";
import { thumbnail } from "./thumbnail.js";
import { barValue } from "./states.js";

export function createGallery({ select, older }) {
  const list = byId("cards");
  const cards = new Map(); // job id -> {item, key}
  byId("older").addEventListener("click", older);

  function draw(jobs, selectedId) {
    show(byId("no-cards"), jobs.length === 0);
    const wanted = new Set(jobs.map((job) => job.id));
    [...cards.keys()].filter((id) => !wanted.has(id)).forEach((id) => { cards.get(id).item.remove(); cards.delete(id); });
    jobs.forEach((job, place) => {
      const card = cards.get(job.id) ?? fresh(job);
      update(card, job, job.id === selectedId);
      if (list.children[place] !== card.item) list.insertBefore(card.item, list.children[place] ?? null);
    });
  }

  function fresh(job) {
    const button = h("button", { type: "button", class: "card", onclick: () => select(job.id) });
    const card = { item: h("li", {}, button), button, key: "" };
    cards.set(job.id, card);
    return card;
  }

  return { show: draw, setMore: (more) => show(byId("older"), more) };
}

function update(card, job, selected) {
  if (selected) card.button.setAttribute("aria-current", "true");
  else card.button.removeAttribute("aria-current");
  const key = `${job.revision} ${job.outputs.length}`;
  if (key !== card.key) {
    card.key = key;
    build(card.button, job);
  }
  const bar = card.button.querySelector(".bar");
  if (!bar) return;
  const value = barValue(job);
  show(bar, value !== null);
  bar.style.setProperty("--done", value ?? 0);
}

function build(button, job) {
  const [first] = job.outputs;
  const label = job.cancel_requested && !isSettled(job) ? "Canceling" : STATUS_LABELS[job.status];
  button.dataset.status = job.status;
  button.dataset.look = first ? "image" : "text";
  button.setAttribute("aria-label", `${label}: ${job.input.prompt}`);
  button.setAttribute("title", job.input.prompt);
  button.replaceChildren(
    ...(first ? [thumbnail(first)] : []),
    h("span", { class: "card-face" },
      h("span", { class: "card-prompt" }, job.input.prompt),
      h("span", {}, h("span", { class: "card-status" }, label), ...(isSettled(job) ? [] : [h("span", { class: "bar" }, h("span"))]))),
    ...(job.outputs.length > 1 ? [h("span", { class: "card-many" }, String(job.outputs.length))] : []));
}
