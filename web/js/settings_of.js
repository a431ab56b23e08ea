// The fields of a request that render an image or job again, from what the farm stored.

export const LABELS = {prompt: "create.prompt", negative_prompt: "create.negative", model: "fact.model", width: "create.width", height: "create.height",
	num_inference_steps: "fact.steps", guidance_scale: "fact.guidance", seed: "fact.seed", strength: "create.strength", rating: "image.rating",
	recipe: "create.recipe", size: "create.size", styles: "create.styles", upscaler: "fact.upscaler"};

export const MAIN = ["prompt", "negative_prompt", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed"];
const NAMES = [...MAIN, "num_images",
	"strict", "init_image", "mask", "mask_feather", "strength", "start_sigma", "variation_seed", "variation_strength"];

// `row`: a job, or an image as GET /v1/images/{id} returns it.
export function settingsOf(row, seed = null) {
	const input = row.input;
	const found = Object.fromEntries(NAMES.filter(name => input[name] !== undefined && input[name] !== null).map(name => [name, input[name]]));
	if (seed !== null) found.seed = seed;
	if (input.loras?.length) found.loras = input.loras.map(({name, scale}) => ({name, scale: scale ?? 1}));
	const before = input.expanded_from;
	if (before) {
		found.prompt = before.prompt;
		found.negative_prompt = before.negative_prompt;
		if (before.styles?.length) found.styles = before.styles;
		if (before.dynamic) found.dynamic = true;
	}
	if (!found.negative_prompt) delete found.negative_prompt;
	if (row.kind === "upscale") return Object.fromEntries(Object.entries(found).filter(([name]) => name === "prompt"));
	return found;
}
