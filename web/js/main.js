// Connects the views with the store of jobs and the API.

import { cancelJob, listJobs, listModels, readJob, readSession, retryJob, submitJob } from "./api.js";
import { announce, byId } from "./dom.js";
import { createJobs } from "./jobs.js";
import { createCompose } from "./views/compose.js";
import { createFarmLine } from "./views/farm.js";
import { createGallery } from "./views/gallery.js";
import { createSignIn } from "./views/signin.js";
import { createStage } from "./views/stage.js";
import { createWatch } from "./watch.js";

const MODELS_MS = 5000;

const jobs = createJobs();
const farm = createFarmLine();
const signIn = createSignIn();
const watch = createWatch(jobs, (problem) => farm.setTrouble(problem));
const compose = createCompose({ submit });
const stage = createStage({
  again: (job) => submit({ ...settingsOf(job), seed: -1 }).catch((problem) => compose.showProblem(problem)),
  edit: (job, output) => compose.fill({ ...settingsOf(job), seed: output?.seed ?? job.input.seed }),
  cancel: (job) => act(cancelJob, job),
  retry: (job) => act(retryJob, job, { thenSelect: true }),
  example: (prompt) => compose.fill({ prompt }),
});
const gallery = createGallery({ select, older });

jobs.subscribe(() => {
  stage.show(jobs.selected);
  gallery.show(jobs.all(), jobs.selectedId);
  watch.follow(jobs.selectedId);
});

async function submit(request) {
  const job = await submitJob(request);
  jobs.put(job);
  select(job.id);
  announce("Queued");
  return job;
}

async function act(action, job, { thenSelect = false } = {}) {
  try {
    const answer = await action(job.id);
    jobs.put(answer);
    if (thenSelect) select(answer.id);
  } catch (problem) {
    stage.showProblem(problem);
  }
}

function settingsOf(job) {
  const names = ["prompt", "negative_prompt", "model", "width", "height", "num_inference_steps", "guidance_scale",
    "seed", "num_images", "strict", "init_image", "mask", "mask_feather", "strength",
    "start_sigma"];
  return Object.fromEntries(names.filter((name) => job.input[name] !== undefined).map((name) => [name, job.input[name]]));
}

// The address names the selected job, so that a refresh, a bookmark and the back button restore it.
function select(id) {
  if (location.hash !== `#${id}`) location.hash = id;
  else showAddressed();
}

async function showAddressed() {
  const id = location.hash.slice(1);
  jobs.select(id || null);
  if (!id) return;
  const narrow = window.matchMedia("(max-width: 63.99rem)").matches;
  byId("stage").scrollIntoView({ block: narrow ? "start" : "nearest" });
  if (jobs.get(id)?.queue !== undefined) return;
  try {
    jobs.put(await readJob(id));
  } catch (problem) {
    if (jobs.selectedId === id) stage.showMissing(problem);
  }
}

let olderCursor = null;

async function older() {
  try {
    const page = await listJobs({ cursor: olderCursor });
    jobs.putPage(page, { first: false });
    olderCursor = page.next_cursor;
    gallery.setMore(olderCursor !== null);
  } catch (problem) {
    farm.setTrouble(problem);
  }
}

async function refreshModels() {
  try {
    const models = await listModels();
    farm.setModels(models);
    compose.setModels(models);
  } catch (problem) {
    farm.setTrouble(problem);
  }
}

// Retries until the farm answers: it may still be starting.
async function session() {
  for (;;) {
    try {
      return await readSession();
    } catch (problem) {
      farm.setTrouble(problem);
      await new Promise((wake) => setTimeout(wake, MODELS_MS));
    }
  }
}

async function start() {
  if (!signIn.check(await session())) return;
  await refreshModels();
  setInterval(() => { if (!document.hidden) refreshModels(); }, MODELS_MS);
  const page = await watch.refreshList();
  olderCursor = page?.next_cursor ?? null;
  gallery.setMore(olderCursor !== null);
  gallery.show(jobs.all(), jobs.selectedId);
  window.addEventListener("hashchange", showAddressed);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) watch.refreshList(); });
  await showAddressed();
  watch.keepListFresh();
}

start();
