// Reduced version of a finished image.

import { h } from "../dom.js";

export function thumbnail(output, alt = "") {
  const image = h("img", { src: output.thumbnail_url, alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => { image.src = output.content_url; }, { once: true });
  return image;
}
