// The view Gallery: search, filters and collections over a grid of all images.

import {get, patch, rateImage, remove} from "../api.js";
import {confirmAction, openMenu, askText} from "../dialog.js";
import {announce, debounce, errorBox, h, icon, MENU, show, smallButton as act} from "../dom.js";
import {count, ownerName} from "../format.js";
import {compareImages} from "../gallery/compare.js";
import {createGrid} from "../gallery/grid.js";
import {createPages} from "../gallery/pages.js";
import {createViewer} from "../gallery/viewer.js";
import {collectMenu, deleteLater, download, downloadZip, upscale, useSettings} from "../image_actions.js";
import {readPreference, savePreference} from "../preferences.js";
import {go, replaceAddress} from "../router.js";
import {keysButton} from "../shortcuts.js";
import {t} from "../text.js";

const DAYS = ["", "1", "7", "30", "365"];

export function mount(app) {
	const chosen = new Set();
	let collections = [];
	let current = ""; // the collection that is shown
	let asked = null; // the address's image, opened once the list is there
	let started = false;

	const pages = createPages(changed, problem => fail(problem));
	const grid = createGrid({pages, onOpen: image => go("gallery", image.id), onChoose: choose, isChosen: id => chosen.has(id)});
	const viewer = createViewer(app, {
		step: (id, direction) => {const at = pages.find(id); return at < 0 ? null : pages.at(at + direction)?.id ?? null;},
		collections: () => collections,
		onDelete: erase,
		onRate: rated,
		onClose: () => {replaceAddress("gallery"); grid.element.focus({preventScroll: true});},
		onShow: id => {replaceAddress("gallery", id); const at = pages.find(id); if (at >= 0) grid.setFocus(at);},
	});

	const select = (id, label, options) => h("select", {id, label, onchange: search}, options.map(([value, text]) => new Option(text, value)));
	const words = h("input#gallery-search", {type: "search", placeholder: t("gallery.search"), label: t("gallery.search"), oninput: debounce(300, search)});
	const model = select("filter-model", t("fact.model"), [["", t("filter.models")]]);
	const day = select("filter-day", t("filter.day"), DAYS.map(each => [each, t(each ? "filter.days" : "filter.ever", {n: each})]));
	const rating = select("filter-rating", t("image.rating"), ["", 1, 2, 3, 4, 5].map(each => [each, each ? `${"★".repeat(each)}${each < 5 ? "+" : ""}` : t("filter.rating")]));
	const lora = select("filter-lora", t("fact.loras"), [["", t("filter.loras")]]);
	const owner = select("filter-owner", t("filter.owner"), [["", t("filter.owners")]]);
	const batch = select("filter-batch", t("filter.batch"), [["", t("filter.batches")]]);
	const sheet = h("button.small#open-sheet", {hidden: true, onclick: async () => (await import("../gallery/table.js")).openBatch(app, batch.value, id => go("gallery", id))}, t("sheet.show"));
	const size = h("input#cell-size", {type: "range", min: 110, max: 360, step: 10, value: readPreference("cell", 190), label: t("gallery.size"),
		oninput: () => {grid.setCell(Number(size.value)); savePreference("cell", Number(size.value));}});
	const total = h("p.aside#gallery-total", {role: "status"});
	const tabs = h("div.tabs#collections", {role: "group", label: t("collections")});
	const empty = h("div.empty", {hidden: true}, h("p.lead", t("gallery.empty")), h("p", t("gallery.empty.about")));
	const trouble = errorBox();
	const bar = h("div.selection.float.row#selection", {role: "toolbar", label: t("selection"), hidden: true});
	const filters = h("div.filters.row", model, day, rating, lora, owner, batch, sheet);
	const element = h("div.gallery",
		h("div.gallery-head.row", h("div.search", words),
			h("button.small#filter-toggle", {"aria-expanded": "false", onclick: event => {
				const open = filters.classList.toggle("open");
				event.currentTarget.ariaExpanded = open;
			}}, icon("settings"), t("filter")),
			filters, h("span.spacer"), total, size, keysButton()),
		tabs, trouble, h("div.gallery-body", grid.element, empty), bar);

	function wanted() {
		const since = day.value ? new Date(Date.now() - Number(day.value) * 864e5).toISOString() : null;
		return {q: words.value.trim(), model: model.value, min_rating: rating.value, lora: lora.value, owner: owner.value, batch: batch.value, since, collection: current};
	}

	async function search() {
		show(sheet, Boolean(batch.value));
		try {
			await pages.reset(wanted());
			show(trouble, false);
			grid.toTop();
		} catch (problem) {
			fail(problem);
		}
	}

	function fail(problem) {
		trouble.textContent = problem.message;
		show(trouble, true);
	}

	function changed() {
		const {total: number} = pages;
		total.textContent = t("images", {n: count(number)});
		show(empty, number === 0);
		grid.element.classList.toggle("hollow", number === 0);
		grid.refresh();
		if (asked) {const id = asked; asked = null; viewer.open(id);}
	}

	function choose(ids, only = false) {
		if (only) ids.forEach(id => chosen.add(id));
		else ids.forEach(id => (chosen.has(id) ? chosen.delete(id) : chosen.add(id)));
		drawSelection();
		grid.refresh();
	}

	function clear() {
		chosen.clear();
		drawSelection();
		grid.refresh();
	}

	function drawSelection() {
		const ids = [...chosen];
		show(bar, ids.length > 0);
		if (!ids.length) return;
		bar.replaceChildren(...[
			h("strong", t("selection.count", {n: ids.length})),
			ids.length > 1 && ids.length < 5 ? act(t("gallery.compare"), () => compareImages(app, ids), {id: "compare"}) : "",
			act(t("gallery.zip"), () => downloadZip(app, ids), {id: "zip"}),
			act(t("collection.add"), event => collectMenu(app, event.currentTarget, ids, collections, loadCollections), {id: "collect", ...MENU}),
			current ? act(t("collection.take"), () => leave(ids)) : "",
			act(t("image.upscale", {scale: 4}), () => upscale(app, ids, 4)),
			act(t("delete"), () => erase(ids), {class: "small quiet-danger", id: "delete"}),
			h("span.spacer"),
			act(t("selection.clear"), clear),
		].filter(Boolean));
		announce(t("selection.count", {n: ids.length}));
	}

	function erase(ids) {
		deleteLater(app, ids, {hide: gone => {gone.forEach(id => chosen.delete(id)); drawSelection(); pages.hide(gone);}, restore: () => pages.unhide()});
	}

	async function leave(ids) {
		try {
			await patch(`v1/collections/${current}`, {remove: ids});
			clear();
			await Promise.all([search(), loadCollections()]);
		} catch (problem) {
			fail(problem);
		}
	}

	function rated(id, value) {
		const at = pages.find(id);
		if (at >= 0) pages.at(at, false).rating = value;
		grid.refresh();
	}

	async function rate(value) {
		const image = grid.focused;
		if (!image) return;
		const before = image.rating;
		rated(image.id, value);
		announce(value ? t("image.stars", {n: value}) : t("keys.unrate"));
		try {
			await rateImage(image.id, value);
		} catch (problem) {
			rated(image.id, before);
			throw problem;
		}
	}

	async function loadCollections() {
		collections = (await get("v1/collections")).items;
		if (!collections.some(each => each.id === current)) current = "";
		drawTabs();
	}

	function drawTabs() {
		const tab = (id, label, number) => h("button.tab", {"aria-pressed": id === current, onclick: () => {current = id; drawTabs(); search();}},
			label, number === null ? "" : h("span.aside", ` ${count(number)}`));
		show(tabs, collections.length > 0);
		const shown = collections.find(each => each.id === current);
		tabs.replaceChildren(tab("", t("gallery.all"), null), ...collections.map(each => tab(each.id, each.name, each.images)),
			shown ? h("button.icon-button", {label: t("collection.change"), ...MENU, onclick: event => openMenu(event.currentTarget, [
				{label: t("rename"), run: () => rename(shown)},
				{label: t("gallery.zip.all"), run: () => zipAll()},
				{label: t("collection.delete"), tone: "bad", run: () => dissolve(shown)},
			])}, icon("more")) : "");
	}

	async function rename(each) {
		const name = await askText({title: t("rename"), label: t("name"), value: each.name, action: t("save")});
		if (!name) return;
		await patch(`v1/collections/${each.id}`, {name});
		await loadCollections();
	}

	async function dissolve(each) {
		if (!await confirmAction({title: t("collection.delete"), text: t("collection.delete.sure", {name: each.name}), action: t("delete")})) return;
		await remove(`v1/collections/${each.id}`);
		current = "";
		await Promise.all([loadCollections(), search()]);
	}

	async function zipAll() {
		const page = await get("v1/images", {...wanted(), limit: 500});
		downloadZip(app, page.items.map(image => image.id));
	}

	function fillFilters() {
		const options = (box, rows) => {const before = box.value; box.replaceChildren(box.options[0], ...rows.map(([value, text]) => new Option(text, value))); box.value = before;};
		options(model, app.choices.models.map(row => [row.id, row.title]));
		options(lora, app.choices.loras.map(row => [row.name, row.name]));
		show(lora, app.choices.loras.length > 0);
		const jobs = app.jobs.all();
		const owners = [...new Set(jobs.map(job => job.owner))].sort();
		options(owner, owners.map(each => [each, ownerName(each)]));
		show(owner, owners.length > 1);
		const batches = [...new Set(jobs.map(job => job.batch_id).filter(Boolean))];
		options(batch, batches.map(each => {const job = jobs.find(one => one.batch_id === each); return [each, (job.input.prompt ?? each).slice(0, 40)];}));
		show(batch, batches.length > 0);
	}

	async function start() {
		started = true;
		await Promise.all([search(), loadCollections().catch(fail)]);
	}

	function key(event) {
		const image = grid.focused;
		const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -4], PageDown: [0, 4]};
		if (moves[event.key]) {
			const from = grid.focus;
			grid.move(...moves[event.key]);
			if (event.shiftKey) choose(grid.range(from, grid.focus), true);
		} else if (event.key === "Home") grid.setFocus(0);
		else if (event.key === "End") grid.setFocus(pages.total - 1);
		else if (event.key === "Enter" && image && event.target.closest("#grid, body") && !event.target.closest("button, a")) go("gallery", image.id);
		else if (/^[0-5]$/.test(event.key)) rate(Number(event.key) || null);
		else if (event.key === "x" && image) choose([image.id]);
		else if (event.key === "c" && chosen.size > 1) compareImages(app, [...chosen]);
		else if (event.key === "u" && image) useSettings(app, image.id);
		else if (event.key === "d" && image) download(image);
		else if (event.key === "Delete" && (chosen.size || image)) erase(chosen.size ? [...chosen] : [image.id]);
		else if (event.key === "Escape" && chosen.size) clear();
		else if (event.key === "/") words.focus();
		else return;
		event.preventDefault();
	}

	app.jobs.subscribe(debounce(800, fillFilters));
	app.onModels(() => {if (!trouble.hidden) start();});
	grid.setCell(Number(size.value));
	return {
		element,
		key,
		first: () => grid.element,
		grid,
		open({item}) {
			fillFilters();
			asked = item || null;
			if (!started || (item ? pages.find(item) < 0 : !viewer.isOpen)) start();
			else if (item) {asked = null; viewer.open(item);}
			if (!item && viewer.isOpen) viewer.close();
			grid.refresh();
			if (!item) grid.element.focus({preventScroll: true});
		},
		close() {if (viewer.isOpen) viewer.close();},
	};
}

