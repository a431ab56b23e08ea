// Zoom and pan of one or several pictures in step: wheel, buttons, keys, drag, two fingers.

const MOST = 16;

export function createZoom(frames) {
	const view = {scale: 1, x: 0, y: 0}; // x, y: shift of the centre, in parts of the frame
	const pointers = new Map();

	function draw() {
		const room = (view.scale - 1) / 2;
		view.x = Math.min(room, Math.max(-room, view.x));
		view.y = Math.min(room, Math.max(-room, view.y));
		for (const frame of frames) {
			for (const picture of frame.querySelectorAll("img")) {
				picture.style.transform = `translate(${view.x * 100}%, ${view.y * 100}%) scale(${view.scale})`;
			}
		}
	}

	function zoom(factor, at = [0, 0]) {
		const before = view.scale;
		view.scale = Math.min(MOST, Math.max(1, before * factor));
		const ratio = view.scale / before;
		view.x = at[0] - (at[0] - view.x) * ratio;
		view.y = at[1] - (at[1] - view.y) * ratio;
		draw();
	}

	const within = (frame, event) => {
		const box = frame.getBoundingClientRect();
		return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
	};

	for (const frame of frames) {
		frame.addEventListener("wheel", event => {event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, within(frame, event));}, {passive: false});
		frame.addEventListener("dblclick", event => (view.scale > 1 ? reset() : zoom(3, within(frame, event))));
		frame.addEventListener("pointerdown", event => {
			if (event.target.closest("input, button")) return;
			pointers.set(event.pointerId, [event.clientX, event.clientY]);
			frame.setPointerCapture(event.pointerId);
		});
		frame.addEventListener("pointermove", event => {
			const before = pointers.get(event.pointerId);
			if (!before) return;
			const box = frame.getBoundingClientRect();
			const others = [...pointers].filter(([id]) => id !== event.pointerId);
			if (others.length) {
				const [, [x, y]] = others[0];
				const spread = point => Math.hypot(point[0] - x, point[1] - y);
				zoom(spread([event.clientX, event.clientY]) / Math.max(spread(before), 1), within(frame, event));
			} else {
				view.x += (event.clientX - before[0]) / box.width;
				view.y += (event.clientY - before[1]) / box.height;
				draw();
			}
			pointers.set(event.pointerId, [event.clientX, event.clientY]);
		});
		for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, event => pointers.delete(event.pointerId));
	}

	function reset() {
		Object.assign(view, {scale: 1, x: 0, y: 0});
		draw();
	}

	return {zoom, reset, get scale() {return view.scale;}, pan(dx, dy) {view.x += dx; view.y += dy; draw();}};
}
