// Store of the known jobs, newest first, and the selected one. Views subscribe to it; no other module stores jobs.

import {isSettled} from "./format.js";

const KEPT = 400;

export function createJobs() {
	const known = new Map();
	const listeners = new Set();
	let selected = null;
	let pending = false;
	let sorted = null; // of all(), until a job changes

	// A page that is open for days keeps the newest jobs, those that are open, and the selected one.
	const forget = () => {
		let oldest = null;
		for (const job of known.values()) {
			if (isSettled(job) && job.id !== selected && !(oldest && oldest.id < job.id)) oldest = job;
		}
		if (oldest) known.delete(oldest.id);
	};

	// One notification a frame, whatever number of events arrives; a hidden page has no frames.
	const changed = () => {
		sorted = null;
		if (pending) return;
		pending = true;
		(document.hidden ? queueMicrotask : requestAnimationFrame)(notify);
	};
	const notify = () => {
		if (!pending) return;
		pending = false;
		listeners.forEach(listener => listener());
	};
	document.addEventListener("visibilitychange", notify); // a frame that was asked for before may not come

	return {
		subscribe: listener => listeners.add(listener),
		get: id => known.get(id) ?? null,
		all: () => {sorted ??= [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1)); return sorted;},
		anyActive: () => [...known.values()].some(job => !isSettled(job)),
		get selected() {return selected ? known.get(selected) ?? null : null;},
		get selectedId() {return selected;},

		select(id) {
			selected = id;
			changed();
		},
		put(job) {
			const before = known.get(job.id);
			const after = merged(before, job);
			if (after === before) return;
			known.set(job.id, after);
			if (known.size > KEPT) forget();
			changed();
		},
		// Adds progress or a preview, which a running job reports between its revisions.
		patch(id, changes) {
			const job = known.get(id);
			if (!job || isSettled(job)) return;
			known.set(id, {...job, ...changes});
			changed();
		},
		remove(id) {
			if (known.delete(id)) changed();
		},
		// Adds a page of the list. Known jobs that are missing from the range of a first page have been deleted.
		putPage(page, {first}) {
			page.items.forEach(job => this.put(job));
			if (!first || page.items.length === 0) return;
			const listed = new Set(page.items.map(job => job.id));
			const [newest, oldest] = [page.items[0].id, page.items.at(-1).id];
			[...known.keys()].filter(id => id <= newest && id >= oldest && !listed.has(id)).forEach(id => this.remove(id));
		},
	};
}

// Ignores lower revisions, which may arrive late. Lists have no queue position and progress: keeps the known ones.
function merged(before, job) {
	if (!before) return job;
	if (job.revision < before.revision) return before;
	if (job.revision > before.revision) return job;
	if (isSettled(job)) return before;
	return {...before, ...job, queue: job.queue ?? before.queue, progress: job.progress ?? before.progress};
}
