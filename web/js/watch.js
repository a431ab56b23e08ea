// Keeps the known jobs current: streams the events of the selected one and polls the list for the others.

import { listJobs, readJob, unreachable } from "./api.js";
import { isSettled } from "./format.js";

const POSITION_MS = 1500;
const LIST_MS = { active: 2000, idle: 10000 };
const RETRY_MS = 3000;

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

  // Streams the events of one job; the browser reconnects by itself and resumes after the last event.
  function listen(id) {
    const source = new EventSource(`v1/jobs/${encodeURIComponent(id)}/events?previews=true`);
    const on = (name, use) => source.addEventListener(name, (event) => use(JSON.parse(event.data)));
    const positions = setInterval(() => { if (jobs.get(id)?.status === "queued" && !document.hidden) reload(id); }, POSITION_MS);
    const close = () => { source.close(); clearInterval(positions); };
    const end = () => {
      close();
      if (following?.id === id) following = null;
    };

    source.onopen = () => onTrouble(null);
    on("status", () => reload(id));
    on("progress", (progress) => jobs.patch(id, { progress }));
    on("preview", (preview) => jobs.patch(id, { preview }));
    on("end", (job) => { end(); jobs.put(job); });
    source.onerror = () => {
      onTrouble(unreachable());
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(async () => { end(); if (await reload(id)) follow(jobs.selectedId); }, RETRY_MS);
    };
    return close;
  }

  // Reads a job; returns false when it no longer exists.
  async function reload(id) {
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
