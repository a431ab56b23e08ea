// Form for prompt, size and model; all other settings start with the model's defaults.

import { announce, byId, setText, show } from "../dom.js";
import { loadDraft, saveDraft } from "../draft.js";
import { createSizes } from "./sizes.js";

// Form fields by the API's names: [element id, parser of its text].
const FIELDS = {
  prompt: ["prompt", String],
  negative_prompt: ["negative", String],
  width: ["width", number],
  height: ["height", number],
  num_inference_steps: ["steps", number],
  guidance_scale: ["guidance", number],
  seed: ["seed", number],
  num_images: ["count", number],
};
const FROM_MODEL = ["width", "height", "num_inference_steps", "guidance_scale"];
const LONG_PROMPT = 1000;

export function createCompose({ submit }) {
  const form = byId("compose");
  const modelBox = byId("model");
  const input = (name) => byId(FIELDS[name][0]);
  const sizes = createSizes({ onChoose: (size) => { put("width", size.width); put("height", size.height); refresh(); } });
  let models = [];
  let model = null;
  let carried = {}; // settings of an edited job that the form has no field for
  let sending = false;

  const put = (name, value) => { input(name).value = value ?? ""; };

  function setModels(list) {
    const first = models.length === 0;
    models = list;
    fillModelBox();
    if (first) restore();
    refresh();
  }

  function fillModelBox() {
    const options = models.map((row) => {
      const option = new Option(row.accepts_jobs ? row.title : `${row.title} (not served)`, row.id);
      option.disabled = !row.accepts_jobs;
      return option;
    });
    const before = modelBox.value;
    const same = modelBox.options.length === options.length
      && options.every((option, i) => option.text === modelBox.options[i].text && option.disabled === modelBox.options[i].disabled);
    if (same) return;
    modelBox.replaceChildren(...options);
    if (before) modelBox.value = before;
  }

  function restore() {
    const draft = loadDraft();
    const wanted = models.find((row) => row.id === draft.model && row.accepts_jobs) ?? models.find((row) => row.default) ?? models[0];
    useModel(wanted);
    Object.keys(FIELDS).filter((name) => draft[name] !== undefined && wanted.id === draft.model).forEach((name) => put(name, draft[name]));
    if (!input("prompt").value) put("prompt", draft.prompt);
  }

  // Values equal to the old model's defaults change to the new ones; values that the user changed are kept.
  function useModel(next) {
    const untouched = FROM_MODEL.filter((name) => !model || number(input(name).value) === model.defaults[name]);
    model = next;
    modelBox.value = next.id;
    sizes.setModel(next);
    untouched.forEach((name) => put(name, next.defaults[name]));
    for (const side of ["width", "height"]) {
      Object.assign(input(side), { min: next.limits.min_side, max: next.limits.max_side, step: next.limits.multiple });
    }
    input("num_inference_steps").max = next.limits.max_steps;
    input("guidance_scale").disabled = !next.guidance;
  }

  function refresh() {
    if (!model) return;
    sizes.mark({ width: number(input("width").value), height: number(input("height").value) });
    const current = models.find((row) => row.id === model.id) ?? model;
    setText(byId("model-about"), current.reason ?? current.about);
    setText(byId("more-summary"), summary());
    setText(byId("negative-hint"), negativeHint());
    show(byId("seed-clear"), input("seed").value.trim() !== "");
    const length = input("prompt").value.length;
    show(byId("prompt-count"), length >= LONG_PROMPT);
    setText(byId("prompt-count"), `${length.toLocaleString()} characters`);
  }

  function summary() {
    const seed = input("seed").value.trim();
    const count = number(input("num_images").value) ?? 1;
    return [
      `${input("num_inference_steps").value} steps`,
      seed ? `seed ${seed}` : null,
      count > 1 ? `${count} images` : null,
    ].filter(Boolean).join(", ");
  }

  function negativeHint() {
    if (model.negative_prompt === "none") return `${model.title} does not use one.`;
    const on = (number(input("guidance_scale").value) ?? 1) > 1;
    return on ? "Guidance is on: each step takes twice as long." : "Works only with guidance above 1.";
  }

  function request() {
    const values = Object.fromEntries(Object.entries(FIELDS).map(([name, [, read]]) => [name, read(input(name).value)]));
    if (values.seed === undefined) values.seed = -1;
    if (!values.negative_prompt.trim()) delete values.negative_prompt;
    if (!model.guidance) delete values.guidance_scale;
    return { ...carried, ...values, model: model.id };
  }

  async function send() {
    if (sending || !model) return;
    clearErrors();
    if (!input("prompt").value.trim()) {
      showFieldErrors([{ field: "prompt", message: "Describe the image." }]);
      return;
    }
    sending = true;
    byId("submit").setAttribute("aria-busy", "true");
    try {
      await submit(request());
    } catch (problem) {
      showProblem(problem);
    } finally {
      sending = false;
      byId("submit").removeAttribute("aria-busy");
    }
  }

  function showProblem(problem) {
    const rest = showFieldErrors(problem.errors ?? []);
    const box = byId("form-error");
    const unplaced = problem.errors?.length ? rest.map((error) => error.message).join(" ") : problem.message;
    setText(box, unplaced);
    show(box, Boolean(unplaced));
  }

  // Shows each message next to its field and focuses the first; returns errors without a field in the form.
  function showFieldErrors(errors) {
    const placed = errors.filter(({ field }) => byId(`${FIELDS[field]?.[0] ?? field}-error`));
    placed.forEach(({ field, message }) => {
      const id = FIELDS[field]?.[0] ?? field;
      const box = byId(`${id}-error`);
      setText(box, sentence(message));
      show(box, true);
      byId(id)?.setAttribute("aria-invalid", "true");
      if (box.closest("#more")) byId("more").open = true;
    });
    if (placed.length) {
      (byId(FIELDS[placed[0].field]?.[0] ?? placed[0].field) ?? byId("prompt")).focus();
      announce(placed.map(({ message }) => message).join(" "));
    }
    return errors.filter((error) => !placed.includes(error));
  }

  function clearErrors() {
    form.querySelectorAll(".error").forEach((box) => show(box, false));
    form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
  }

  function fill(settings) {
    const wanted = models.find((row) => row.id === settings.model && row.accepts_jobs);
    if (wanted && wanted.id !== model.id) useModel(wanted);
    carried = {};
    for (const [name, value] of Object.entries(settings)) {
      if (FIELDS[name]) put(name, value);
      else if (name !== "model") carried[name] = value;
    }
    clearErrors();
    keep();
    input("prompt").focus();
    form.scrollIntoView({ block: "nearest" });
  }

  function keep() {
    refresh();
    const texts = Object.fromEntries(Object.keys(FIELDS).map((name) => [name, input(name).value]));
    saveDraft({ ...texts, model: model?.id });
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  form.addEventListener("input", keep);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  modelBox.addEventListener("change", () => { useModel(models.find((row) => row.id === modelBox.value)); keep(); });
  byId("seed-clear").addEventListener("click", () => { put("seed", ""); keep(); input("seed").focus(); });
  byId("reset").addEventListener("click", () => {
    FROM_MODEL.forEach((name) => put(name, model.defaults[name]));
    ["seed", "negative_prompt"].forEach((name) => put(name, ""));
    put("num_images", 1);
    carried = {};
    clearErrors();
    keep();
  });
  setText(byId("submit-keys"), /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ Enter" : "Ctrl Enter");

  return { setModels, fill, showProblem };
}

// Text that is not a number is sent as it is: the API then names the field and the expected value.
function number(text) {
  const trimmed = String(text).trim();
  if (trimmed === "") return undefined;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : trimmed;
}

function sentence(message) {
  return message.charAt(0).toUpperCase() + message.slice(1);
}
