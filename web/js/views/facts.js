// Settings of an image as a list of terms, and its warnings and notice.

import { copyButton, h, prose } from "../dom.js";
import { seconds } from "../format.js";

export function factsOf(job, output) {
  const input = job.input;
  const seed = output?.seed ?? input.seed;
  return [
    job.kind === "upscale" ? fact("Upscaler", `${input.upscaler}, ×${input.scale}`) : fact("Model", job.model),
    fact("Size", `${output?.width ?? input.width} × ${output?.height ?? input.height}`),
    ...(input.num_inference_steps === undefined ? [] : [
      fact("Steps", input.num_inference_steps),
      fact("Guidance", input.guidance_scale > 1 ? input.guidance_scale : "off"),
    ]),
    seed === undefined ? null : fact("Seed", seed, copyButton(String(seed), "the seed")),
    job.status === "succeeded" ? fact("Time", timeOf(job.timings)) : null,
    input.negative_prompt ? wide(fact("Without", input.negative_prompt)) : null,
  ].filter(Boolean);
}

export function notesOf(job) {
  const texts = [...job.warnings, ...(job.notice && job.outputs.length ? [firstSentence(job.notice)] : [])];
  return texts.map((text) => h("li", {}, ...prose(text)));
}

// The banner shows the whole notice.
function firstSentence(text) {
  return text.replace(/\. .*$/s, ".");
}

function fact(name, value, extra = null) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, String(value), extra));
}

function wide(element) {
  element.classList.add("wide");
  return element;
}

function timeOf(timings) {
  const total = seconds(timings.total_seconds ?? 0);
  const waited = timings.queued_seconds ?? 0;
  return waited >= 0.5 ? `${total} (${seconds(waited)} of it waiting)` : total;
}
