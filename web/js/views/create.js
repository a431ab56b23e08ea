// The view Create: the form, the selected job, and the strip of live and recent jobs.

import {cancelJob, get, listJobs, post, readJob, retryJob, submit, submitJob} from "../api.js";
import {announce, h, on} from "../dom.js";
import {isSettled} from "../format.js";
import {createForm} from "../create/form.js";
import {createLive, MOST} from "../create/live.js";
import {createStage} from "../create/stage.js";
import {confirmAction} from "../dialog.js";
import {go, replaceAddress} from "../router.js";
import {settingsOf} from "../settings_of.js";
import {t} from "../text.js";

export function mount(app) {
	const {jobs} = app;
	const form = createForm(app, {submit: submitAll});
	const stage = createStage(app, {
		again: job => submitOne({...settingsOf(job), seed: -1}).catch(form.showProblem),
		edit: (job, output) => form.fill(settingsOf(job, output?.seed ?? job.input.seed), {farm: Boolean(job.parent?.image)}),
		cancel: job => act(cancelJob, job),
		retry: job => act(retryJob, job, {thenSelect: true}),
		example: prompt => form.fill({prompt}),
		choose: select,
	});
	const live = createLive({select, older, cancel: job => act(cancelJob, job), cancelAll});
	const element = h("div.studio", form.element, h("div.work", stage.element, live.element));
	let visible = false;
	let listed = false; // whether the list of jobs has been read
	let missing = null; // the id of the address, where there is no such job
	let kept = null; // the job whose end starts the next one, while "keep generating" is on

	function draw() {
		if (!visible) return;
		if (!missing || missing !== jobs.selectedId) stage.show(jobs.selected);
		live.show(jobs.all(), jobs.selectedId, listed);
		live.setMore(Boolean(app.olderCursor) && jobs.all().length < MOST);
	}

	jobs.subscribe(() => {draw(); keepGoing();});
	app.onModels(form.setModels);
	form.setModels(app.choices.models);

	async function submitOne(request) {
		const job = await submitJob(request);
		jobs.put(job);
		kept = job.id;
		select(job.id);
		announce(t("status.queued"));
		return job;
	}

	// An A/B is a batch over one setting with one seed.
	async function submitAll(request, axis) {
		if (!axis) return submitOne(request);
		const {seed, ...base} = request;
		for (const name of Object.keys(axis)) delete base[name];
		if (axis.size) {delete base.width; delete base.height;}
		if (axis.recipe) {delete base.num_inference_steps; delete base.guidance_scale;}
		const batch = await submit("v1/batches", {base, axes: axis, ...(seed >= 0 ? {seeds: [seed]} : {})});
		const page = await listJobs();
		jobs.putPage(page, {first: true});
		const first = page.items.filter(job => job.batch_id === batch.id).at(-1);
		if (first) select(first.id);
		announce(t("status.queued"));
		return first;
	}

	function keepGoing() {
		const job = kept && jobs.get(kept);
		if (!job || !isSettled(job)) return;
		kept = null;
		if (!form.keeps) return;
		if (job.status === "succeeded") form.send({fresh: true});
		else form.stop();
	}

	async function act(action, job, {thenSelect = false} = {}) {
		try {
			const answer = await action(job.id);
			jobs.put(answer);
			if (thenSelect) select(answer.id);
		} catch (problem) {
			if (job.id === jobs.selectedId) stage.showProblem(problem);
			else app.fail(problem);
		}
	}

	async function cancelAll() {
		if (!await confirmAction({title: t("live.cancelall"), text: t("live.cancelall.sure"), action: t("live.cancelall")})) return;
		form.stop();
		for (let cursor = null, more = true; more;) {
			const page = await get("v1/jobs", {status: ["queued", "running"], mine: true, limit: 200, cursor});
			for (let at = 0; at < page.items.length; at += 8) {
				await Promise.all(page.items.slice(at, at + 8).map(async ({id}) => jobs.put(await post(`v1/jobs/${id}/cancel`))));
			}
			cursor = page.next_cursor;
			more = Boolean(cursor);
		}
	}

	// The address names the selected job, so that a refresh, a bookmark and the back button restore it.
	function select(id) {
		go("create", id);
	}

	async function showJob(id) {
		jobs.select(id || null);
		if (!id) return;
		if (window.matchMedia("(max-width: 63.99rem)").matches) stage.element.scrollIntoView({block: "start"});
		if (jobs.get(id)?.queue !== undefined) return;
		try {
			jobs.put(await readJob(id));
		} catch (problem) {
			if (jobs.selectedId !== id) return;
			missing = id;
			stage.showMissing(problem);
		}
	}

	async function older() {
		try {
			const page = await listJobs({cursor: app.olderCursor});
			jobs.putPage(page, {first: false});
			app.olderCursor = page.next_cursor;
			draw();
		} catch (problem) {
			app.setTrouble(problem);
		}
	}

	function takePending() {
		const pending = app.pending;
		app.pending = null;
		if (pending?.settings) form.fill(pending.settings, {farm: pending.farm});
		if (pending?.start) form.start.useImage(pending.start);
	}

	const over = event => {if ([...event.dataTransfer.types].includes("Files")) {event.preventDefault(); element.dataset.drop = "yes";}};
	on(element, "dragover", over);
	on(element, "dragleave", event => {if (!element.contains(event.relatedTarget)) delete element.dataset.drop;});
	on(element, "drop", event => {
		event.preventDefault();
		delete element.dataset.drop;
		const file = [...event.dataTransfer.files].find(each => each.type.startsWith("image/"));
		if (file) form.takeFile(file, {asStart: Boolean(event.target.closest("#start"))});
	});

	return {
		element,
		first: () => form.first,
		open({item, values}) {
			visible = true;
			if (Object.keys(values).length) {
				form.fillShared(values);
				replaceAddress("create", item);
			}
			takePending();
			app.followJobs().then(() => {listed = true; draw();});
			showJob(item);
			draw();
		},
		close() {visible = false;},
	};
}
