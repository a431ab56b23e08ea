// Sizes offered as buttons, limited to those that a model can render.

const OFFERED = [
  { name: "Light", width: 512, height: 512 },
  { name: "Medium", width: 768, height: 768 },
  { name: "Large", width: 1024, height: 1024 },
  { name: "Portrait", width: 768, height: 1024 },
  { name: "Landscape", width: 1024, height: 768 },
  { name: "Wide", width: 1280, height: 720 },
];

export function sizesFor(model) {
  return OFFERED.filter((size) => fits(size, model.limits));
}

export function fits({ width, height }, limits) {
  return [width, height].every((side) => side >= limits.min_side && side <= limits.max_side && side % limits.multiple === 0)
    && width * height <= limits.max_pixels;
}

export function sizeKey({ width, height }) {
  return `${width}x${height}`;
}
