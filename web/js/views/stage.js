// The selected job: its queue position, its progress, and its images.

import { contentUrl } from "../api.js";
import { announce, byId, h, setText, show } from "../dom.js";
import { fileName, isSettled, STATUS_LABELS } from "../format.js";
import { factsOf, notesOf } from "./facts.js";
import { thumbnail } from "./thumbnail.js";
import { barValue, troubleOf, waitingOf } from "./states.js";

const EXAMPLES = [
  "a red fox asleep in snow, soft morning light",
  "雨后的江南小巷, 青石板路, 水墨风格",
  "a glass teapot on a windowsill, steam, film photograph",
];
export function createStage({ again, edit, cancel, retry, example }) {
  const stage = byId("stage");
  const preview = byId("preview");
  const picture = byId("picture");
  let job = null;
  let index = 0;
  let drawn = ""; // the job, revision and image that the costly parts of the view show

  function showJob(next) {
    if (next?.id !== job?.id) {
      index = 0;
      clearImages();
    }
    const before = job;
    job = next;
    show(byId("welcome"), !job);
    show(byId("show"), Boolean(job));
    stage.dataset.state = job?.status ?? "empty";
    if (!job) return;
    announceChange(before, job);
    drawFrame();
    const key = `${job.id} ${job.revision} ${index} ${job.outputs.length} ${job.cancel_requested}`;
    if (key === drawn) return;
    drawn = key;
    drawDetails();
  }

  function announceChange(before, now) {
    if (before?.id !== now.id || before.status === now.status) return;
    announce(now.status === "succeeded" ? "The image is ready" : STATUS_LABELS[now.status]);
  }

  function drawFrame() {
    byId("frame").style.setProperty("--ratio", job.input.width / job.input.height);
    const output = job.outputs[index];
    show(byId("frame"), Boolean(output) || !isSettled(job));
    drawImage(output);
    drawPreview(output);
    drawWaiting();
  }

  function drawImage(output) {
    show(picture, Boolean(output));
    if (!output || picture.dataset.id === output.id) return;
    picture.dataset.id = output.id;
    picture.src = contentUrl(output);
    picture.alt = job.input.prompt;
  }

  function drawPreview(output) {
    const image = job.status === "running" && !output && job.preview;
    show(preview, Boolean(image));
    if (image) preview.src = `data:${image.media_type};base64,${image.data}`;
  }

  function drawWaiting() {
    const box = byId("waiting");
    show(box, !isSettled(job));
    if (isSettled(job)) return;
    const { title, detail } = waitingOf(job);
    setText(byId("waiting-title"), title);
    setText(byId("waiting-detail"), detail);
    const bar = byId("bar");
    const value = barValue(job);
    show(bar, value !== null);
    bar.setAttribute("aria-valuenow", Math.round((value ?? 0) * 100));
    bar.style.setProperty("--done", value ?? 0);
  }

  function drawDetails() {
    const output = job.outputs[index];
    drawStrip();
    drawTrouble();
    show(byId("again"), isSettled(job));
    show(byId("retry"), ["failed", "held", "expired"].includes(job.status));
    show(byId("cancel"), !isSettled(job) || job.status === "held");
    byId("cancel").disabled = job.cancel_requested && !isSettled(job);
    setText(byId("cancel"), byId("cancel").disabled ? "Canceling…" : "Cancel");
    show(byId("download"), Boolean(output));
    if (output) Object.assign(byId("download"), { href: contentUrl(output), download: fileName(job, output) });
    setText(byId("story"), job.input.prompt);
    byId("facts").replaceChildren(...factsOf(job, output));
    const notes = notesOf(job);
    show(byId("notes"), notes.length > 0);
    byId("notes").replaceChildren(...notes);
  }

  function drawStrip() {
    show(byId("strip"), job.outputs.length > 1);
    byId("strip").replaceChildren(...(job.outputs.length > 1 ? job.outputs.map(stripButton) : []));
  }

  function stripButton(output, number) {
    const choose = () => { index = number; showJob(job); byId("strip").children[number].focus(); };
    return h("button", { type: "button", "aria-pressed": String(number === index), onclick: choose },
      thumbnail(output, `Image ${number + 1}, seed ${output.seed}`));
  }

  function drawTrouble() {
    const trouble = troubleOf(job);
    show(byId("trouble"), Boolean(trouble));
    if (!trouble) return;
    byId("trouble").dataset.tone = trouble.calm ? "calm" : "bad";
    setText(byId("trouble-title"), trouble.title);
    setText(byId("trouble-detail"), trouble.detail);
  }

  function clearImages() {
    for (const image of [picture, preview]) {
      image.removeAttribute("src");
      Object.keys(image.dataset).forEach((name) => delete image.dataset[name]);
      show(image, false);
    }
  }

  function showProblem(problem) {
    show(byId("trouble"), true);
    byId("trouble").dataset.tone = "bad";
    setText(byId("trouble-title"), "That did not work");
    setText(byId("trouble-detail"), problem.message);
    announce(problem.message);
  }

  function showMissing(problem) {
    show(byId("welcome"), false);
    show(byId("show"), true);
    ["frame", "strip", "notes", "again", "retry", "cancel", "download"].forEach((id) => show(byId(id), false));
    setText(byId("story"), "");
    byId("facts").replaceChildren();
    showProblem(problem);
  }

  byId("examples").append(...EXAMPLES.map((text) =>
    h("li", {}, h("button", { type: "button", onclick: () => example(text) }, text))));
  byId("again").addEventListener("click", () => again(job));
  byId("reuse").addEventListener("click", () => job && edit(job, job.outputs[index]));
  byId("cancel").addEventListener("click", () => cancel(job));
  byId("retry").addEventListener("click", () => retry(job));

  return { show: showJob, showProblem, showMissing };
}
