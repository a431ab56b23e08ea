// Keeps the known jobs true: follows the one on show closely, looks at the rest through the list now and then.

import { listJobs, readJob } from "./api.js";
import { isSettled } from "./format.js";

const WAIT_SECONDS = 20;
const STEP_MS = { queued: 1500, running: 400 };
const LIST_MS = { active: 2000, idle: 10000 };
const LONGEST_PAUSE_MS = 10000;

// `onTrouble` gets a Problem while the farm cannot be reached, then null.
export function createWatch(jobs, onTrouble) {
  let following = null;

  function follow(id) {
    if (following?.id === id) return;
    following?.control.abort();
    following = null;
    const job = jobs.get(id);
    if (!id || (job && isSettled(job))) return;
    const control = new AbortController();
    following = { id, control };
    const both = [untilSettled(id, control.signal), eachStep(id, control.signal)];
    Promise.allSettled(both).then(() => { if (following?.control === control) following = null; });
  }

  // The farm answers this request at the job's next change, so the end shows at once.
  async function untilSettled(id, signal) {
    let etag = null;
    await repeatedly(signal, async () => {
      const answer = await readJob(id, { etag, wait: etag ? WAIT_SECONDS : 0, signal });
      etag = answer.etag;
      if (answer.job) jobs.put(answer.job);
      return settledOrGone(id);
    });
  }

  // Steps and places in the queue move without a change of the job itself.
  async function eachStep(id, signal) {
    let etag = null;
    await repeatedly(signal, async () => {
      await pause(STEP_MS[jobs.get(id)?.status] ?? STEP_MS.queued, signal);
      if (settledOrGone(id)) return true;
      if (document.hidden) return false;
      const answer = await readJob(id, { etag, signal });
      etag = answer.etag;
      if (answer.job) jobs.put(answer.job);
      return settledOrGone(id);
    });
  }

  function settledOrGone(id) {
    const job = jobs.get(id);
    return !job || isSettled(job);
  }

  async function repeatedly(signal, turn) {
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (await turn()) return;
        if (failures) onTrouble(null);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (!error.mayPass) throw error;
        onTrouble(error);
        failures += 1;
        await pause(Math.min(1000 * 2 ** failures, LONGEST_PAUSE_MS), signal);
      }
    }
  }

  async function refreshList() {
    try {
      const page = await listJobs();
      jobs.putPage(page, { first: true });
      onTrouble(null);
      return page;
    } catch (error) {
      onTrouble(error);
      return null;
    }
  }

  async function keepListFresh() {
    for (;;) {
      await pause(jobs.anyActive() ? LIST_MS.active : LIST_MS.idle);
      if (!document.hidden) await refreshList();
    }
  }

  return { follow, refreshList, keepListFresh };
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
