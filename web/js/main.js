// Starts the page: reads what the farm offers, shows the view of the address, keeps jobs and models current.

import {listJobs, listModels, Problem, readChoices} from "./api.js";
import {byId, h, on} from "./dom.js";
import {createJobs} from "./jobs.js";
import {createNotices} from "./notices.js";
import {applyTheme} from "./preferences.js";
import {go, parseAddress} from "./router.js";
import {createShell} from "./shell.js";
import {createShortcuts} from "./shortcuts.js";
import {createSignIn} from "./signin.js";
import {t} from "./text.js";
import {createWatch} from "./watch.js";

const VIEWS = {
	create: () => import("./views/create.js"),
	gallery: () => import("./views/gallery.js"),
	models: () => import("./views/models.js"),
	farm: () => import("./views/farm.js"),
	settings: () => import("./views/settings.js"),
};

const JOBS_AFTER_MS = 3000;

applyTheme();
const jobs = createJobs();
const shell = createShell(Object.keys(VIEWS));
const signIn = createSignIn();
const watch = createWatch(jobs, shell.setTrouble);
const listeners = new Set();

const app = {
	jobs,
	watch,
	choices: null,
	toast: shell.toast,
	fail: problem => shell.toast(problem.message, {tone: "bad"}),
	setTrouble: shell.setTrouble,
	may: scope => app.choices.session.scopes.includes("admin") || app.choices.session.scopes.includes(scope),
	onModels: listener => listeners.add(listener),
	refreshModels,
	followJobs,
	refreshChoices,
	olderCursor: null,
};

const mounted = {};
let shown = null;
let wanted = null;

async function showAddressed() {
	const route = parseAddress();
	if (!VIEWS[route.view]) return;
	wanted = route.view;
	shell.mark(route.view);
	const module = mounted[route.view] || await VIEWS[route.view]().catch(() => null);
	if (!module) return shell.setTrouble(new Problem({detail: t("farm.unreachable")})); // refreshModels tries again
	const loaded = mounted[route.view] ??= module.mount(app);
	if (wanted !== route.view) return; // another address was opened meanwhile
	if (shown !== loaded) {
		shown?.close?.();
		byId("main").replaceChildren(loaded.element);
		byId("main").dataset.view = route.view;
		document.title = `${t(`nav.${route.view}`)} · imagefarm`;
		shown = loaded;
	}
	loaded.open(route);
}

// Reads the list of jobs and follows their events: at once on Create, elsewhere when the view has opened.
let following = null;

function followJobs() {
	following ??= listJobs().then(page => {
		jobs.putPage(page, {first: true});
		app.olderCursor = page.next_cursor;
		watch.start();
	}, problem => {following = null; shell.setTrouble(problem); setTimeout(followJobs, JOBS_AFTER_MS);});
	return following;
}

async function refreshModels() {
	try {
		app.choices.models = await listModels();
		shell.setModels(app.choices.models);
		listeners.forEach(listener => listener(app.choices.models));
		if (!mounted[wanted]) showAddressed();
	} catch (problem) {
		shell.setTrouble(problem);
	}
}

async function refreshChoices() {
	app.choices = await readChoices();
	shell.setModels(app.choices.models);
	listeners.forEach(listener => listener(app.choices.models));
}

// Retries until the farm answers: it may still be starting.
async function choices() {
	for (;;) {
		try {
			return await readChoices();
		} catch (problem) {
			shell.setTrouble(problem);
			if (problem.status === 403) byId("main").replaceChildren(h("p.empty", problem.message));
			await new Promise(wake => setTimeout(wake, watch.modelsEvery));
		}
	}
}

async function start() {
	app.choices = await choices();
	if (!signIn.check(app.choices.session)) return;
	shell.setModels(app.choices.models);
	createNotices(jobs);
	on(window, "unhandledrejection", event => { // an action that handles no problem of its own
		if (!(event.reason instanceof Problem)) return;
		event.preventDefault();
		app.fail(event.reason);
	});
	createShortcuts(() => shown, go);
	on(window, "hashchange", showAddressed);
	on(byId("skip"), "click", event => {
		event.preventDefault();
		(shown?.first?.() ?? byId("main")).focus();
	});
	await showAddressed();
	Object.values(VIEWS).forEach(load => load().catch(() => {})); // so that each opens while the farm is away
	setTimeout(app.followJobs, JOBS_AFTER_MS);
	setInterval(() => {if (!document.hidden) refreshModels();}, watch.modelsEvery);
}

start();
