// Cards of running, waiting and recent jobs; running ones show their progress and preview.

import {h, iconButton, setText, show} from "../dom.js";
import {isSettled, statusLabel} from "../format.js";
import {thumbnail} from "../thumbnail.js";
import {t} from "../text.js";
import {barValue, waitingOf} from "./states.js";

export const MOST = 96; // cards; the gallery shows the rest

export function createLive({select, older, cancel, cancelAll}) {
	const list = h("ul#cards.cards");
	const empty = h("p#no-cards.hint", {hidden: true}, t("live.none"));
	const more = h("button#older.small", {hidden: true, onclick: older}, t("live.older"));
	const stop = h("button#cancel-all.small.quiet-danger", {hidden: true, onclick: cancelAll}, t("live.cancelall"));
	const counts = h("span.aside#live-counts");
	const element = h("section.live", {"aria-labelledby": "live-title"},
		h("div.row.between", h("h2#live-title", t("live"), " ", counts), stop), list, empty, more);
	const cards = new Map(); // job id -> {item, button, key}

	function draw(all, selectedId, listed) {
		const jobs = all.slice(0, MOST);
		const open = all.filter(job => !isSettled(job));
		show(empty, listed && jobs.length === 0);
		show(stop, open.length > 1);
		const running = open.filter(job => job.status === "running").length;
		setText(counts, open.length ? t("live.counts", {running, queued: open.length - running}) : "");
		const wanted = new Set(jobs.map(job => job.id));
		for (const [id, card] of cards) if (!wanted.has(id)) {card.item.remove(); cards.delete(id);}
		jobs.forEach((job, place) => {
			const card = cards.get(job.id) ?? fresh(job);
			update(card, job, job.id === selectedId);
			if (list.children[place] !== card.item) list.insertBefore(card.item, list.children[place] ?? null);
		});
	}

	function fresh(job) {
		const button = h("button.card", {onclick: () => select(job.id)});
		const stopper = iconButton("close", t("cancel"), {class: "card-cancel", onclick: () => cancel(job)});
		const card = {item: h("li", button, stopper), button, stopper, key: ""};
		cards.set(job.id, card);
		return card;
	}

	return {element, show: draw, setMore: yes => show(more, yes)};
}

function update(card, job, selected) {
	if (card.job === job && card.selected === selected) return; // a job that changes is another object
	Object.assign(card, {job, selected});
	card.button.ariaCurrent = selected || null;
	const key = `${job.revision} ${job.outputs.length} ${job.cancel_requested}`;
	if (key !== card.key) {
		card.key = key;
		show(card.stopper, !isSettled(job) && !job.cancel_requested);
		build(card, job);
	}
	if (!card.bar) return;
	const value = barValue(job);
	show(card.bar, value !== null);
	card.bar.style.setProperty("--done", value ?? 0);
	const {title} = waitingOf(job);
	setText(card.status, title);
	if (job.preview && card.preview.dataset.at !== job.preview.data.slice(-24)) {
		card.preview.dataset.at = job.preview.data.slice(-24);
		card.preview.src = `data:${job.preview.media_type};base64,${job.preview.data}`;
		show(card.preview, true);
	}
}

function build(card, job) {
	const {button} = card;
	const [first] = job.outputs;
	const label = job.cancel_requested && !isSettled(job) ? t("live.canceling") : statusLabel(job.status);
	const text = job.input.prompt ?? t("kind.upscale");
	button.dataset.status = job.status;
	button.dataset.look = first ? "image" : "text";
	button.ariaLabel = `${label}: ${text}`;
	button.title = text;
	card.bar = isSettled(job) ? null : h("span.bar", h("span"));
	card.status = h("span.card-status", label);
	card.preview = h("img.card-preview", {alt: "", hidden: true, decoding: "async"});
	button.replaceChildren(
		first ? thumbnail(first) : card.preview,
		h("span.card-face", h("span.card-prompt", text), h("span.card-state", card.status, card.bar ?? "")),
		job.outputs.length > 1 ? h("span.card-many", String(job.outputs.length)) : "");
}
