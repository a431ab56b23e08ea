// Size buttons: a radio group whose frames have the proportions of the image.

import { byId, h } from "../dom.js";
import { sizeKey, sizesFor } from "../sizes.js";

const LONGEST_SIDE_REM = 1.625;
const LONGEST_SIDE = 1280; // pixels

export function createSizes({ onChoose }) {
  const box = byId("sizes");
  box.addEventListener("input", (event) => { // before the event reaches the form, which then stores the new size
    const [width, height] = event.target.value.split("x").map(Number);
    onChoose({ width, height });
  });

  return {
    setModel(model) {
      box.replaceChildren(...sizesFor(model).map(button));
    },
    mark(size) {
      box.querySelectorAll("input").forEach((input) => { input.checked = input.value === sizeKey(size); });
    },
  };
}

function button(size) {
  const shape = h("span", { class: "size-shape", "aria-hidden": "true" });
  const scale = LONGEST_SIDE_REM / LONGEST_SIDE;
  const shrink = Math.sqrt(LONGEST_SIDE / Math.max(size.width, size.height)); // exact proportions, reduced differences of size
  const drawn = (side) => `${side * scale * shrink}rem`;
  shape.style.width = drawn(size.width);
  shape.style.height = drawn(size.height);
  return h("label", { class: "size" },
    h("input", { type: "radio", name: "size", value: sizeKey(size) }),
    h("span", { class: "size-face" },
      shape,
      h("span", { class: "size-name" }, size.name),
      h("span", { class: "size-pixels" }, `${size.width} × ${size.height}`)));
}
