// Two to four images side by side, or two under a slider, with zoom in step and what differs between them.

import { contentUrl, readImage } from "../api.js";
import { h, show } from "../dom.js";
import { openDialog } from "../dialog.js";
import { LABELS } from "../settings_of.js";
import { t } from "../text.js";
import { createZoom } from "./zoom.js";

const FIELDS = ["prompt", "negative_prompt", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed", "strength", "rating"];

export async function compareImages(app, ids) {
  let images;
  try {
    images = await Promise.all(ids.slice(0, 4).map(readImage));
  } catch (problem) {
    app.fail(problem);
    return;
  }
  const pair = images.length === 2;
  const pictures = (image) => h("img", { src: contentUrl(image.id), alt: image.input.prompt ?? image.id, draggable: "false" });
  const side = h("div", { class: "compare-side", "data-count": images.length }, images.map((image, at) =>
    h("figure", { class: "compare-frame" }, pictures(image), h("figcaption", {}, String.fromCharCode(65 + at)))));
  const slider = h("input", { type: "range", min: 0, max: 100, value: 50, class: "compare-slider", "aria-label": t("compare.slider"), id: "compare-slider" });
  const over = h("div", { class: "compare-over" }, h("div", { class: "layer" }, pictures(images[0])), pair ? h("div", { class: "layer top" }, pictures(images[1])) : null, slider);
  const cut = () => over.style.setProperty("--cut", `${slider.value}%`);
  slider.addEventListener("input", cut);
  cut();
  const zoom = createZoom([...side.children, over]);
  const mode = h("button", { class: "small", id: "compare-mode", "aria-pressed": String(pair), onclick: () => choose(over.hidden) }, t("compare.slider"));
  function choose(sliding) {
    show(over, sliding);
    show(side, !sliding);
    mode.setAttribute("aria-pressed", String(sliding));
  }
  choose(pair);
  const value = (image, name) => (name === "rating" ? image.rating : name === "seed" ? image.seed : image[name] ?? image.input[name]) ?? "—";
  const differing = FIELDS.filter((name) => new Set(images.map((image) => String(value(image, name)))).size > 1);
  const table = h("div", { class: "table-scroll", tabindex: 0 }, h("table", { class: "table compare-table" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("compare.setting")), images.map((_, at) => h("th", { scope: "col" }, String.fromCharCode(65 + at))))),
    h("tbody", {}, differing.map((name) => h("tr", {}, h("th", { scope: "row" }, t(LABELS[name])), images.map((image) => h("td", {}, String(value(image, name)))))))));
  const dialog = openDialog({
    title: t("gallery.compare"),
    class: "full-dialog compare",
    body: h("div", { class: "compare-body" }, over, side, differing.length ? table : h("p", { class: "hint" }, t("compare.same"))),
    actions: [pair ? mode : "", h("button", { class: "small", "aria-label": t("zoom.out"), onclick: () => zoom.zoom(1 / 1.4) }, "−"),
      h("button", { class: "small", "aria-label": t("zoom.in"), onclick: () => zoom.zoom(1.4) }, "+"),
      h("button", { class: "small", onclick: zoom.reset }, t("zoom.fit"))],
  });
  dialog.element.addEventListener("keydown", (event) => {
    if (event.key === "+") zoom.zoom(1.4);
    if (event.key === "-") zoom.zoom(1 / 1.4);
  });
}
