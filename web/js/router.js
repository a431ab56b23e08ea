// Addresses of the views: #/view/item?values. The back button, a refresh and a bookmark restore what they name.

const ID = /^#[0-9a-f]{8}-[0-9a-f-]{27}$/;

export function parseAddress(hash = location.hash) {
	if (ID.test(hash)) return {view: "create", item: hash.slice(1), values: {}}; // as earlier versions wrote it
	const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
	const [view = "", item = ""] = path.split("/");
	return {view: view || "create", item: decodeURIComponent(item), values: Object.fromEntries(new URLSearchParams(query))};
}

export function addressOf(view, item = "", values = {}) {
	const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== null));
	return `#/${view}${item ? `/${encodeURIComponent(item)}` : ""}${query.size ? `?${query}` : ""}`;
}

export function go(view, item = "", values = {}) {
	const address = addressOf(view, item, values);
	if (location.hash === address) window.dispatchEvent(new HashChangeEvent("hashchange"));
	else location.hash = address;
}

export function replaceAddress(view, item = "", values = {}) {
	history.replaceState(null, "", addressOf(view, item, values));
}
