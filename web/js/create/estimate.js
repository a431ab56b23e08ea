// The line before the click: expected seconds, memory, place in the queue, and what costs much.

import {post} from "../api.js";
import {debounce, h, prose} from "../dom.js";
import {about} from "../format.js";
import {said, t} from "../text.js";

export function createEstimate() {
	const line = h("p.estimate-line");
	const notes = h("ul.estimate-notes");
	let number = 0;

	const ask = debounce(350, async (request, times) => {
		if (!request.prompt?.trim()) {clear(); return;}
		number += 1;
		const mine = number;
		try {
			const found = await post("v1/estimate", request);
			if (mine === number) draw(found, times);
		} catch (problem) {
			if (mine === number) clear(problem.code === "unreachable" || problem.status === 422 ? "" : problem.message);
		}
	});

	function clear(text = t("estimate.idle")) {
		line.textContent = text;
		notes.replaceChildren();
	}

	function draw(found, times) {
		const parts = [
			found.seconds === null ? t("estimate.unknown") : about(found.seconds * times),
			found.memory_gb ? t("estimate.memory", {gb: found.memory_gb.toFixed(1)}) : null,
			found.wait_seconds > 1 ? t("estimate.wait", {time: about(found.wait_seconds)}) : found.position > 1 ? t("estimate.place", {n: found.position}) : t("estimate.now"),
		].filter(Boolean);
		line.replaceChildren(...(found.reason ? [said(found.reason)] : [parts.join(" · ")]));
		notes.replaceChildren(...found.warnings.map(text => h("li", ...prose(said(text)))));
	}

	return {element: h("div.estimate#estimate", line, notes), ask, clear};
}
