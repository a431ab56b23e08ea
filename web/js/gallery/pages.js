// Images by position, read in pages; only the pages near the visible part are kept.

import {get} from "../api.js";

const PAGE = 100;
const KEPT = 24; // pages

export function createPages(onChange, onProblem) {
	let filters = {};
	let anchor = null;
	let total = 0;
	let generation = 0;
	let hidden = []; // positions that were deleted here, ascending: the farm's positions shift only with the next reset
	const pages = new Map(); // number -> items, or a promise

	async function reset(next) {
		generation += 1;
		const mine = generation;
		filters = next;
		const page = await get("v1/images", {...filters, limit: PAGE, count: true});
		if (mine !== generation) return;
		pages.clear();
		hidden = [];
		pages.set(0, page.items);
		({total, anchor} = page);
		onChange({reset: true});
	}

	async function load(number) {
		const mine = generation;
		const reading = get("v1/images", {...filters, offset: number * PAGE, limit: PAGE, anchor});
		pages.set(number, reading);
		try {
			const page = await reading;
			if (mine !== generation) return;
			pages.set(number, page.items);
			trim(number);
			onChange({});
		} catch (problem) {
			pages.delete(number);
			onProblem(problem);
		}
	}

	function trim(near) {
		const far = [...pages.keys()].sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
		while (pages.size > KEPT && far.length) pages.delete(far.shift());
	}

	// The position among all images of the farm, from that among those that are shown.
	function placeOf(index) {
		let place = index;
		for (const each of hidden) {if (each <= place) place += 1; else break;}
		return place;
	}

	return {
		reset,
		get total() {return Math.max(total - hidden.length, 0);},
		get filters() {return filters;},
		// The image at a position, or null while its page is being read; `read` starts that.
		at(index, read = true) {
			if (index < 0 || index >= this.total) return null;
			const place = placeOf(index);
			const number = Math.floor(place / PAGE);
			const page = pages.get(number);
			if (Array.isArray(page)) return page[place % PAGE] ?? null;
			if (!page && read) load(number);
			return null;
		},
		find(id) {
			for (const [number, page] of pages) {
				const at = Array.isArray(page) ? page.findIndex(image => image.id === id) : -1;
				if (at < 0) continue;
				const place = number * PAGE + at;
				if (hidden.includes(place)) return -1;
				return place - hidden.filter(each => each < place).length;
			}
			return -1;
		},
		hide(ids) {
			for (const id of ids) {
				for (const [number, page] of pages) {
					const at = Array.isArray(page) ? page.findIndex(image => image.id === id) : -1;
					if (at >= 0 && !hidden.includes(number * PAGE + at)) hidden.push(number * PAGE + at);
				}
			}
			hidden.sort((a, b) => a - b);
			onChange({});
		},
		unhide() {hidden = []; onChange({});},
	};
}
