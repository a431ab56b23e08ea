// Windowed grid: only the cells near the visible part exist, and they are used again while one scrolls.

import {thumbnailUrl} from "../api.js";
import {h, on} from "../dom.js";
import {t} from "../text.js";

const GAP = 10;
const EXTRA_ROWS = 2;
const STEPS = [160, 240, 320, 480, 640]; // sizes of thumbnails that are requested, in device pixels
const FAST = 2.5; // screens a second: pictures wait until the scrolling is slower

export function createGrid({pages, onOpen, onChoose, isChosen}) {
	const canvas = h("div.grid-canvas");
	const scroller = h("div#grid.grid-scroll", {tabindex: 0, role: "listbox", "aria-multiselectable": "true", label: t("nav.gallery")}, canvas);
	const cells = new Map(); // index -> cell
	const spare = [];
	let columns = 1;
	let cell = 180;
	let wanted = 180;
	let focus = 0;
	let waiting = false;
	let stale = true; // the size of the cells and of the canvas
	let lastTop = 0;
	let lastAt = 0;
	let settle = null;
	let made = 0;

	function measure() {
		stale = false;
		const width = scroller.clientWidth - 2 * GAP;
		columns = Math.max(2, Math.floor((width + GAP) / (wanted + GAP)));
		cell = Math.floor((width - (columns - 1) * GAP) / columns);
		canvas.style.setProperty("--cell", `${cell}px`);
		canvas.style.height = `${Math.ceil(pages.total / columns) * (cell + GAP) + GAP}px`;
	}

	function schedule() {
		if (waiting) return;
		waiting = true;
		requestAnimationFrame(() => {waiting = false; draw();});
	}

	function draw() {
		if (!scroller.isConnected || !scroller.clientWidth) return;
		const now = performance.now();
		const {scrollTop: top, clientHeight: height} = scroller; // all reads before the first write
		if (stale) measure();
		const speed = (Math.abs(top - lastTop) / height) / Math.max((now - lastAt) / 1000, 0.008);
		[lastTop, lastAt] = [top, now];
		const fast = speed > FAST;
		if (fast) {clearTimeout(settle); settle = setTimeout(schedule, 90);}
		const row = cell + GAP;
		const first = Math.max(0, (Math.floor(top / row) - EXTRA_ROWS) * columns);
		const last = Math.min(pages.total, (Math.ceil((top + height) / row) + EXTRA_ROWS) * columns);
		for (const [index, each] of cells) if (index < first || index >= last) {cells.delete(index); spare.push(each);}
		for (let index = first; index < last; index += 1) place(index, fast);
		while (spare.length > columns * 4) spare.pop().element.remove();
		for (const each of spare) each.element.hidden = true;
	}

	function place(index, fast) {
		const each = cells.get(index) ?? take(index);
		const {element} = each;
		const where = `translate(${GAP + (index % columns) * (cell + GAP)}px, ${GAP + Math.floor(index / columns) * (cell + GAP)}px)`;
		if (each.where !== where) element.style.transform = each.where = where;
		const image = pages.at(index, !fast);
		const size = STEPS.find(step => step >= cell * devicePixelRatio) ?? STEPS.at(-1);
		const key = image ? `${image.id} ${size}` : "";
		if (each.key !== key && !(fast && image && each.key === "")) {
			each.key = key;
			each.picture.removeAttribute("src");
			delete element.dataset.broken;
			if (image) {each.picture.src = thumbnailUrl(image.id, size); element.ariaLabel = image.prompt || image.id;}
		}
		each.image = image;
		const chosen = Boolean(image) && isChosen(image.id);
		const now = {focused: index === focus, chosen, rating: image?.rating ?? 0, index, total: pages.total};
		const {state} = each;
		each.state = now; // only what differs is written: each change costs the browser a style
		if (now.focused !== state.focused) element.classList.toggle("focus", now.focused);
		if (now.focused) scroller.setAttribute("aria-activedescendant", element.id);
		if (chosen !== state.chosen) element.ariaSelected = chosen;
		if (now.total !== state.total) element.ariaSetSize = now.total;
		if (index !== state.index) element.ariaPosInSet = index + 1;
		if (now.rating !== state.rating) each.stars.textContent = "★".repeat(now.rating);
	}

	function take(index) {
		const each = spare.pop() ?? fresh();
		each.index = index;
		each.element.hidden = false;
		cells.set(index, each);
		return each;
	}

	function fresh() {
		const each = {state: {}, key: "", picture: h("img", {decoding: "async", draggable: "false", alt: ""}), stars: h("span.cell-stars")};
		on(each.picture, "load", () => each.picture.classList.add("in"));
		each.element = h("div.cell", {role: "option", "aria-selected": "false"}, each.picture, each.stars, h("span.cell-mark", {"aria-hidden": "true"}, "✓"));
		on(each.element, "click", event => {
			if (!each.image) return;
			const from = focus;
			setFocus(each.index);
			if (event.target.classList.contains("cell-mark") || event.ctrlKey || event.metaKey) onChoose([each.image.id]);
			else if (event.shiftKey) onChoose(range(from, each.index), true);
			else onOpen(each.image, each.index);
		});
		made += 1;
		each.element.id = `cell-${made}`;
		canvas.append(each.element);
		return each;
	}

	function range(from, to) {
		const found = [];
		for (let index = Math.min(from, to); index <= Math.max(from, to); index += 1) {
			const image = pages.at(index, false);
			if (image) found.push(image.id);
		}
		return found;
	}

	function setFocus(index) {
		focus = Math.min(Math.max(index, 0), Math.max(pages.total - 1, 0));
		if (stale && scroller.clientWidth) measure();
		const row = cell + GAP;
		const top = Math.floor(focus / columns) * row;
		if (top < scroller.scrollTop) scroller.scrollTop = top;
		else if (top + row + GAP > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + row + GAP - scroller.clientHeight;
		schedule();
	}

	const refresh = () => {stale = true; schedule();};
	on(scroller, "scroll", schedule, {passive: true});
	new ResizeObserver(refresh).observe(scroller);

	return {
		element: scroller,
		refresh,
		range,
		toTop() {scroller.scrollTop = 0; focus = 0; refresh();},
		setCell(size) {wanted = size; refresh();},
		setFocus,
		move: (dx, dy) => setFocus(focus + dx + dy * columns),
		get focus() {return focus;},
		get focused() {return pages.at(focus, false);},
		get cells() {return cells.size + spare.length;},
	};
}
