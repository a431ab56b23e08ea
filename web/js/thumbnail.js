
import {contentUrl, thumbnailUrl} from "./api.js";
import {h} from "./dom.js";

export function thumbnail(output, alt = "", size = null) {
	const image = h("img", {src: thumbnailUrl(output, size), alt, loading: "lazy", decoding: "async"});
	image.addEventListener("error", () => {image.src = contentUrl(output);}, {once: true});
	return image;
}
