// Keeps the known jobs true: follows the one on show as it happens, looks at the rest through the list now and then.

import { listJobs, readJob, unreachable } from "./api.js";
import { isSettled } from "./format.js";

const PLACE_MS = 1500;
const LIST_MS = { active: 2000, idle: 10000 };
const AGAIN_MS = 3000;

// `onTrouble` gets a Problem while the farm cannot be reached, then null.
export function createWatch(jobs, onTrouble) {
  let following = null; // {id, close}

  function follow(id) {
    if (following?.id === id) return;
    following?.close();
    following = null;
    const job = jobs.get(id);
    if (!id || !job || isSettled(job)) return;
    following = { id, close: listen(id) };
  }

  // The farm's event stream of one job; the browser mends a broken one by itself, from where it stopped.
  function listen(id) {
    const source = new EventSource(`v1/jobs/${encodeURIComponent(id)}/events?previews=true`);
    const heard = (name, use) => source.addEventListener(name, (event) => use(JSON.parse(event.data)));
    const places = setInterval(() => { if (jobs.get(id)?.status === "queued" && !document.hidden) look(id); }, PLACE_MS);
    const close = () => { source.close(); clearInterval(places); };
    const end = () => {
      close();
      if (following?.id === id) following = null;
    };

    source.onopen = () => onTrouble(null);
    heard("status", () => look(id));
    heard("progress", (progress) => jobs.patch(id, { progress }));
    heard("preview", (preview) => jobs.patch(id, { preview }));
    heard("end", (job) => { end(); jobs.put(job); });
    source.onerror = () => {
      onTrouble(unreachable());
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(async () => { end(); if (await look(id)) follow(jobs.selectedId); }, AGAIN_MS);
    };
    return close;
  }

  // Reads a job now; false when it is gone for good.
  async function look(id) {
    try {
      jobs.put(await readJob(id));
      return true;
    } catch (problem) {
      if (problem.status === 404 || problem.status === 410) {
        jobs.remove(id);
        return false;
      }
      onTrouble(problem);
      return true;
    }
  }

  async function refreshList() {
    try {
      const page = await listJobs();
      jobs.putPage(page, { first: true });
      onTrouble(null);
      return page;
    } catch (problem) {
      onTrouble(problem);
      return null;
    }
  }

  async function keepListFresh() {
    for (;;) {
      await new Promise((wake) => setTimeout(wake, jobs.anyActive() ? LIST_MS.active : LIST_MS.idle));
      if (!document.hidden) await refreshList();
    }
  }

  return { follow, refreshList, keepListFresh };
}
