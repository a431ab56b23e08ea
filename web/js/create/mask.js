// Dialog in which a brush paints the mask of a start image: white areas are repainted.

import {upload} from "../api.js";
import {h, icon, on, segments, zoomButtons} from "../dom.js";
import {openDialog} from "../dialog.js";
import {t} from "../text.js";

const TINT = "rgba(16, 130, 92, 0.62)";

// `surface`: an image or bitmap, perhaps smaller than the mask's `size`. Resolves to {upload, preview, strokes, feather}, or null.
export function paintMask(surface, size, before, app) {
	const width = size.width ?? surface.naturalWidth;
	const height = size.height ?? surface.naturalHeight;
	let strokes = before ? [...before] : []; // {erase, size, points: [[x, y]], all}
	let erase = false;
	let zoom = 1;
	let stroke = null;

	const canvas = h("canvas.mask-canvas", {width, height, tabindex: 0, role: "img", label: t("mask.canvas")});
	const stage = h("div.mask-stage", canvas);
	const mask = h("canvas", {width, height});
	const brush = h("input#mask-size", {type: "range", min: 4, max: 300, value: Math.round(Math.max(width, height) / 10)});
	const feather = h("input#mask-feather", {type: "range", min: 0, max: 64, value: 8});
	function paintStroke(context, each) {
		context.globalCompositeOperation = each.erase ? "destination-out" : "source-over";
		context.strokeStyle = context.fillStyle = "#fff";
		if (each.all) {context.fillRect(0, 0, width, height); return;}
		context.lineWidth = each.size;
		context.lineCap = context.lineJoin = "round";
		context.beginPath();
		const [first, ...rest] = each.points;
		context.moveTo(...first);
		(rest.length ? rest : [[first[0] + 0.01, first[1]]]).forEach(point => context.lineTo(...point));
		context.stroke();
	}

	function redrawMask() {
		const context = mask.getContext("2d");
		context.clearRect(0, 0, width, height);
		strokes.forEach(each => paintStroke(context, each));
	}

	let waiting = false;
	function draw() {
		if (waiting) return;
		waiting = true;
		requestAnimationFrame(() => {
			waiting = false;
			const context = canvas.getContext("2d");
			context.globalCompositeOperation = "source-over";
			context.drawImage(surface, 0, 0, width, height);
			context.drawImage(tinted(mask), 0, 0);
		});
	}

	function setZoom(next) {
		zoom = Math.min(8, Math.max(1, next));
		canvas.style.width = `${zoom * 100}%`;
		output.textContent = `${Math.round(zoom * 100)} %`;
	}

	const at = event => {
		const box = canvas.getBoundingClientRect();
		return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height].map(Math.round);
	};
	on(canvas, "pointerdown", event => {
		if (event.button !== 0) return;
		event.preventDefault();
		canvas.setPointerCapture(event.pointerId);
		stroke = {erase: erase || event.altKey, size: Number(brush.value), points: [at(event)]};
		strokes.push(stroke);
		paintStroke(mask.getContext("2d"), stroke);
		draw();
	});
	on(canvas, "pointermove", event => {
		if (!stroke) return;
		const last = stroke.points.at(-1);
		const moved = (event.getCoalescedEvents?.() ?? [event]).map(at);
		stroke.points.push(...(moved.length ? moved : [at(event)]));
		paintStroke(mask.getContext("2d"), {...stroke, points: [last, ...moved]});
		draw();
	});
	for (const name of ["pointerup", "pointercancel"]) on(canvas, name, () => {stroke = null;});
	on(stage, "wheel", event => {event.preventDefault(); setZoom(zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15));}, {passive: false});

	const change = run => () => {run(); redrawMask(); draw();};
	const undo = change(() => strokes.pop());
	const output = h("output", "100 %");
	const tools = h("div.mask-tools.row",
		segments([[false, t("mask.brush")], [true, t("mask.erase")]], erase, value => {erase = value;}, {label: t("mask.tool")}),
		h("label", t("mask.size"), brush), h("label", t("mask.soft"), feather),
		h("button.small#mask-undo", {onclick: undo}, icon("undo"), t("undo")),
		h("button.small#mask-all", {onclick: change(() => strokes.push({all: true}))}, t("mask.all")),
		h("button.small", {onclick: change(() => {strokes = [];})}, t("mask.clear")),
		h("span.row", zoomButtons(factor => setZoom(zoom * factor)), output));

	return new Promise(resolve => {
		let result = null;
		const save = async event => {
			if (!strokes.length) {dialog.close(); return;}
			event.currentTarget.ariaBusy = true;
			try {
				const row = await upload(await asBlob(mask));
				result = {upload: row, preview: tinted(mask, 320).toDataURL("image/png"), strokes, feather: Number(feather.value)};
				dialog.close();
			} catch (problem) {
				app.fail(problem);
			}
		};
		const dialog = openDialog({title: t("mask.title"), class: "wide-dialog", body: h("div.mask", stage, tools),
			actions: [h("p.hint", t("mask.hint")), h("button.primary#mask-done", {onclick: save}, t("mask.use"))],
			onclose: () => resolve(result)});
		on(dialog.element, "keydown", event => {
			if (event.key === "z" && (event.ctrlKey || event.metaKey)) {event.preventDefault(); undo();}
			if (event.key === "[") brush.value = Math.max(4, Number(brush.value) - 8);
			if (event.key === "]") brush.value = Number(brush.value) + 8;
		});
		redrawMask();
		draw();
		setZoom(1);
	});
}

function tinted(mask, side = Infinity) {
	const scale = Math.min(1, side / Math.max(mask.width, mask.height));
	const shown = h("canvas", {width: Math.round(mask.width * scale), height: Math.round(mask.height * scale)});
	const context = shown.getContext("2d");
	context.drawImage(mask, 0, 0, shown.width, shown.height);
	context.globalCompositeOperation = "source-in";
	context.fillStyle = TINT;
	context.fillRect(0, 0, shown.width, shown.height);
	return shown;
}

// The mask as the farm reads it: white on black.
function asBlob(mask) {
	const file = h("canvas", {width: mask.width, height: mask.height});
	const context = file.getContext("2d");
	context.fillStyle = "#000";
	context.fillRect(0, 0, file.width, file.height);
	context.drawImage(mask, 0, 0);
	return new Promise(resolve => file.toBlob(resolve, "image/png"));
}
