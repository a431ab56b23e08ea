// The view Models: models with their workers and weights, pulls with progress, your own files, LoRAs and upscalers.

import {get, post, remove} from "../api.js";
import {askText, confirmAction, openDialog} from "../dialog.js";
import {copyButton, errorBox, fact, h, icon, progressBar, prose, renew, show, smallButton as button} from "../dom.js";
import {ago, gigabytes} from "../format.js";
import {named, said, t} from "../text.js";

const POLL_MS = 1500;

export function mount(app) {
	const admin = app.may("admin");
	const first = h("section.first-run.panel#first-run", {hidden: true});
	const list = h("div.model-list#model-list");
	const operations = h("div.stack#operations");
	const others = h("div.two");
	const trouble = errorBox();
	const element = h("div.page",
		h("div.page-head.row.between", h("h2", t("nav.models")), admin && h("button#model-add", {onclick: addModel}, icon("plus"), t("models.add"))),
		trouble, first, operations, list, others);
	let running = [];
	let visible = false;
	let timer = null;
	let opened = false; // the models of a page that has just opened are fresh

	function fail(problem) {trouble.textContent = problem.message; show(trouble, true);}

	async function act(run, text = null) {
		try {
			const answer = await run();
			show(trouble, false);
			if (text) app.toast(text);
			await refresh();
			return answer;
		} catch (problem) {
			app.fail(problem);
			return null;
		}
	}

	const tell = added => app.toast(added.sentences.map(text => said(text)).join(" "));

	const order = (model, action, text) => act(() => post(`v1/models/${model.id}/${action}`), text);
	const latest = model => running.find(each => each.model === model.id && ["queued", "running"].includes(each.state));

	function draw() {
		const {models} = app.choices;
		const real = models.filter(model => model.served && !model.notice);
		show(first, real.length === 0);
		if (!real.length) drawFirst(models);
		list.replaceChildren(...models.map(card));
		const loras = app.choices.loras;
		others.replaceChildren(
			h("section.panel", {"aria-labelledby": "loras-title"}, h("h3#loras-title", t("fact.loras"), " ", h("span.aside", String(loras.length))),
				loras.length ? h("ul.rows", loras.map(lora => h("li", h("div", h("strong", lora.name), h("p.hint", lora.problem ? said(lora.problem) : [lora.families.join(", "), lora.trigger_words.slice(0, 5).join(", "), gigabytes(lora.bytes)].filter(Boolean).join(" · "))),
					h("span.badge", {"data-tone": lora.problem ? "bad" : lora.models.length ? "good" : "quiet"}, lora.problem ? t("models.broken") : t("models.formodels", {n: lora.models.length})))))
					: h("p.hint", ...prose(t("models.noloras")))),
			h("section.panel", {"aria-labelledby": "upscalers-title"}, h("h3#upscalers-title", t("models.upscalers")),
				h("ul.rows", app.choices.upscalers.map(each => h("li", h("div", h("strong", each.title), h("p.hint", `${said(each.about)} ${t("models.licence", {name: said(each.licence)})}`)),
					h("span.badge", {"data-tone": each.installed ? "good" : "quiet"}, t(each.installed ? "models.here" : "models.away")))))));
	}

	function card(model) {
		const operation = latest(model);
		const state = operation ? "busy" : {ready: "good", loading: "busy", unloaded: "good", paused: "busy", blocked: "bad", failed: "bad"}[model.state] ?? "quiet";
		const able = admin && !model.notice;
		const pulls = able && !model.served && !operation; // says what to do; why it is not served is among the details
		return h("article.model.panel", {"data-model": model.id},
			h("div.row.between", h("h3", model.title), h("span.badge", {"data-tone": state}, named("state", model.state))),
			h("p", said(model.about)),
			model.reason && !pulls ? h("p.hint", ...prose(said(model.reason))) : null,
			h("dl.facts",
				fact(t("fact.size"), `${model.defaults.width} × ${model.defaults.height} … ${t("megapixels", {n: (model.limits.max_pixels / 1e6).toFixed(1)})}`),
				fact(t("fact.steps"), model.defaults.num_inference_steps),
				fact(t("models.can"), [model.guidance ? t("fact.guidance") : null, model.image_to_image !== "none" ? t("create.start") : null, model.inpainting ? t("create.mask") : null].filter(Boolean).join(", ") || "—"),
				fact(t("models.licence.short"), `${model.licence}${model.commercial === "yes" ? "" : ` (${named("commercial", model.commercial)})`}`),
				model.workers.length ? fact(t("models.workers"), model.workers.join(", ")) : null),
			model.notes.length ? h("ul.bullets.hint", model.notes.map(note => h("li", ...prose(said(note))))) : null,
			operation ? progress(operation) : null,
			h("div.row",
				pulls ? button(t("models.pull"), () => order(model, "pull"), {class: "small primary-small"}) : null,
				able && model.state === "unloaded" ? button(t("models.load"), () => order(model, "load", t("models.load.asked"))) : null,
				able && model.state === "ready" ? button(t("models.unload"), () => order(model, "unload", t("models.load.asked"))) : null,
				admin ? button(t("models.fits"), () => details(model)) : null,
				able && !operation ? button(t("models.verify"), () => order(model, "verify")) : null,
				able && !model.served ? button(t("remove"), () => removeModel(model), {class: "small quiet-danger"}) : null));
	}

	function progress(operation) {
		const {progress: at} = operation;
		const part = at?.total_bytes ? at.done_bytes / at.total_bytes : 0;
		const kind = named("operation", operation.kind);
		return h("div.operation",
			h("div.row.between", h("span", `${kind}: ${operation.cancel_requested ? t("live.canceling") : at ? named("stage", at.stage) : said(operation.reason) || named("status", operation.state)}`),
				h("span.aside", at?.total_bytes ? `${gigabytes(at.done_bytes)} / ${gigabytes(at.total_bytes)}` : "")),
			progressBar(kind, part), at?.detail ? h("p.hint", at.detail) : null,
			admin && h("button.small.quiet-danger", {disabled: operation.cancel_requested, onclick: () => act(() => post(`v1/model-operations/${operation.id}/cancel`))}, t("cancel")));
	}

	async function details(model) {
		const found = await act(() => get(`v1/models/${model.id}`));
		if (!found) return;
		const weights = found.weights;
		openDialog({title: model.title, body: h("div.stack", weights ? h("dl.facts.column",
			fact(t("models.weights"), weights.present ? `${t("models.here")}, ${gigabytes(weights.size_bytes)}` : t("models.away")),
			fact(t("models.workers"), found.workers.join(", ") || "—"),
			fact(t("models.limit"), t("megapixels", {n: (found.limits.max_pixels / 1e6).toFixed(1)}))) : null,
		[weights?.missing ?? model.reason].filter(Boolean).map(text => h("p", ...prose(said(text)))),
		(weights?.problems ?? []).map(text => h("p.trouble", said(text))),
		h("p.hint", ...prose(t("models.doctor", {model: model.id})), copyButton(`imagefarm doctor --model ${model.id}`, t("copy.command"))))});
	}

	async function removeModel(model) {
		if (!await confirmAction({title: t("models.remove", {title: model.title}), text: t("models.remove.sure"), action: t("remove")})) return;
		await act(async () => {
			try {
				return await remove(`v1/models/${model.id}`);
			} catch (problem) {
				if (problem.code !== "model_shipped") throw problem;
				return remove(`v1/models/${model.id}?weights=true`);
			}
		});
	}

	async function addModel() {
		let files;
		try {files = await get("v1/models/files");} catch (problem) {fail(problem); return;}
		const usable = files.items.filter(file => file.kind === "checkpoint" || file.kind === "component");
		const row = file => h("li", h("div", h("strong", file.path), h("p.hint", `${said(file.sentence)} ${gigabytes(file.size_bytes)}`)),
			file.models.length ? h("span.badge", file.models.join(", "))
				: h("button.small", {onclick: async () => {const added = await act(() => post("v1/models", {path: file.path})); if (added) {dialog.close(); tell(added);}}}, t("add")));
		const dialog = openDialog({title: t("models.add"), class: "wide-dialog", body: h("div.stack",
			h("p.hint", ...prose(t("models.add.about"))),
			usable.length ? h("ul.rows", usable.map(row)) : h("p", t("models.nofiles")),
			files.problems.map(text => h("p.trouble", said(text)))),
		actions: [h("button", {onclick: async () => {
			dialog.close();
			const repo = await askText({title: t("models.repo"), label: t("models.repo.label"), action: t("add")});
			if (repo) addRepo({repo});
		}}, t("models.repo"))]});
	}

	// Where the name does not tell what the repository is, the farm asks for a model that it is like.
	async function addRepo(wanted) {
		try {
			tell(await post("v1/models", wanted));
			await refresh();
		} catch (problem) {
			const base = problem.code === "base_needed" && await askText({title: wanted.repo, label: problem.message, action: t("add")});
			if (base) addRepo({...wanted, base});
			else if (base === false) app.fail(problem);
		}
	}

	// No weights yet: three ways to get them, each done from here as far as a page can.
	function drawFirst(models) {
		const suggested = models.filter(model => !model.notice).slice(0, 3);
		const way = (title, ...body) => h("div.way", h("h3", title), ...body);
		const code = text => h("p.command", h("code", text), copyButton(text, t("copy.command")));
		first.replaceChildren(h("h2", t("first.title")), h("p.lead-small", t("first.about")),
			h("div.ways",
				way(t("first.pull"), h("p", t("first.pull.about")), admin ? h("div.stack-small", suggested.map(model =>
					h("button", {onclick: () => order(model, "pull"), disabled: Boolean(latest(model))}, t("first.pull.button", {title: model.title})))) : code(`imagefarm models pull ${suggested[0]?.id ?? "z-image-turbo"}`)),
				way(t("first.folder"), h("p", t("first.folder.about")), code("IMAGEFARM_WEIGHTS_DIRS=/path/to/ComfyUI/models imagefarm up")),
				way(t("first.file"), h("p", t("first.file.about")), admin ? h("button", {onclick: addModel}, t("first.file.button")) : code("imagefarm models add model.safetensors"))));
	}

	function drawOperations() {
		const ended = running.filter(each => ["failed"].includes(each.state)).slice(0, 3);
		operations.replaceChildren(...ended.map(each => h("div.trouble", h("p.trouble-title", `${named("operation", each.kind)} ${each.model}: ${t("status.failed")}, ${ago(each.ended_at)}`), h("p", said(each.error?.message, each.error?.code)))));
	}

	async function refresh() {
		try {
			const [found] = await Promise.all([get("v1/model-operations", {limit: 20}), opened ? app.refreshModels() : null]);
			opened = true;
			running = found.items;
			show(trouble, false);
		} catch (problem) {
			fail(problem);
		}
		renew(element, () => {drawOperations(); draw();});
		clearTimeout(timer);
		if (visible && (!trouble.hidden || running.some(each => ["queued", "running"].includes(each.state)))) timer = setTimeout(refresh, POLL_MS);
	}

	app.onModels(() => {if (visible && opened) renew(element, draw);});
	return {
		element,
		first: () => element.querySelector("button") ?? element,
		open() {visible = true; draw(); refresh();},
		close() {visible = false; clearTimeout(timer);},
	};
}
