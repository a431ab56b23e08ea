// The API's description, shown by Swagger UI from this farm's own files.

// The part of a description that a path needs: what is there, and the components that it names, directly or through others.
function partOf(description, path) {
	const part = {...description, paths: {}, webhooks: {}, components: {}};
	const take = way => {
		let [from, to] = [description, part];
		for (const name of way.slice(0, -1)) {
			from = from?.[name];
			to = to[name] ??= {};
		}
		const last = way.at(-1);
		if (from?.[last] === undefined || to[last] !== undefined) return;
		to[last] = from[last];
		for (const [, named] of JSON.stringify(from[last]).matchAll(/"#\/(components\/[^"]+)"/g)) take(named.split("/"));
	};
	take(path[0] === "components" ? path : path.slice(0, 2)); // a path's operations share its parameters
	return part;
}

// Swagger UI resolves the whole description again for each operation that is opened, which takes seconds of slow processors.
const resolveParts = {
	afterLoad({fn}) {
		const {resolveSubtree} = fn;
		fn.resolveSubtree = (description, path, options) => resolveSubtree(partOf(description, path), path, options);
	},
};

window.SwaggerUIBundle({
	url: "openapi.json",
	dom_id: "#api",
	deepLinking: true,
	validatorUrl: null, // its default asks a host on the internet
	plugins: [resolveParts],
});
