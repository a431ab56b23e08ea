// Reduced version of a finished image.

import { contentUrl, thumbnailUrl } from "../api.js";
import { h } from "../dom.js";

export function thumbnail(output, alt = "") {
  const image = h("img", { src: thumbnailUrl(output), alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => { image.src = contentUrl(output); }, { once: true });
  return image;
}
