// Keeps the known jobs current with one stream of events for all of them; after a break, the list fills what was missed.

import {get, listJobs, readJob, unreachable} from "./api.js";
import {readPreference} from "./preferences.js";

const RETRY_MS = 1500;
const MODELS_MS = 5000;

// `onTrouble` gets a Problem while the farm cannot be reached, then null.
export function createWatch(jobs, onTrouble) {
	let source = null;
	let broken = false;
	let timer = null;

	function start() {
		if (source || document.hidden) return;
		source = new EventSource(`v1/events?previews=true`);
		const on = (name, use) => source.addEventListener(name, event => use(JSON.parse(event.data)));
		source.onopen = () => {
			onTrouble(null);
			if (broken || jobs.anyActive()) refreshList(); // what ended before the stream began
			broken = false;
		};
		on("job", job => jobs.put(job));
		on("progress", ({id, progress}) => jobs.patch(id, {progress}));
		on("preview", preview => jobs.patch(preview.id, {preview}));
		on("gone", ({id}) => jobs.remove(id));
		source.onerror = () => {
			broken = true;
			stop();
			clearTimeout(timer);
			timer = setTimeout(start, RETRY_MS);
			probe();
		};
	}

	// A browser reports every end of a stream alike: a small call distinguishes a farm that restarts from one that is away.
	async function probe() {
		try {
			await get("healthz");
		} catch {
			onTrouble(unreachable());
		}
	}

	function stop() {
		source?.close();
		source = null;
	}

	async function reload(id) {
		try {
			jobs.put(await readJob(id));
			return true;
		} catch (problem) {
			if (problem.status === 404 || problem.status === 410) jobs.remove(id);
			else onTrouble(problem);
			return false;
		}
	}

	async function refreshList() {
		try {
			const page = await listJobs();
			jobs.putPage(page, {first: true});
			jobs.all().filter(job => ["queued", "running"].includes(job.status) && !page.items.some(each => each.id === job.id))
				.forEach(job => reload(job.id));
			return page;
		} catch (problem) {
			onTrouble(problem);
			return null;
		}
	}

	// Hidden pages keep no connection: browsers allow few to a host, and several tabs share them. A page that was asked to
	// notify keeps it.
	document.addEventListener("visibilitychange", () => {
		if (document.hidden) {
			if (!readPreference("notify")) {broken = true; stop();}
		} else {
			start();
		}
	});
	window.addEventListener("online", () => {stop(); start();});
	window.addEventListener("offline", () => onTrouble(unreachable()));

	return {start, stop, refreshList, reload, modelsEvery: MODELS_MS};
}
