// Sizes offered as buttons: three areas and seven shapes, limited to those that a model can render.

export const BASES = [512, 768, 1024];
export const RATIOS = ["1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16"];

export function ratioOf(name) {
	const [width, height] = name.split(":").map(Number);
	return width / height;
}

// The size of that shape whose area is about that of a square of `base`: multiples of 64, or of what the model needs.
export function sizeFor(base, ratio, limits) {
	const multiple = Math.max(limits.multiple, ratio === "1:1" ? limits.multiple : 64);
	const shape = Math.sqrt(ratioOf(ratio));
	const near = side => Math.max(multiple, Math.round(side / multiple) * multiple);
	return {width: near(base * shape), height: near(base / shape)};
}

export function fits({width, height}, limits) {
	return [width, height].every(side => side >= limits.min_side && side <= limits.max_side && side % limits.multiple === 0)
		&& width * height <= limits.max_pixels;
}

export function basesFor(model) {
	return BASES.filter(base => fits({width: base, height: base}, model.limits));
}

// The base and shape that a size belongs to; null where there is none.
export function choiceOf(size, limits) {
	for (const base of BASES) {
		for (const ratio of RATIOS) {
			const offered = sizeFor(base, ratio, limits);
			if (offered.width === size.width && offered.height === size.height) return {base, ratio};
		}
	}
	return null;
}
