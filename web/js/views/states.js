// Texts for a job's state.

import { about, ordinal, seconds } from "../format.js";

const STARTING = { title: "Rendering", detail: "Reading the prompt…" };

export function waitingOf(job) {
  if (job.cancel_requested) return { title: "Canceling…", detail: "It stops at the next step." };
  return job.status === "queued" ? queued(job) : running(job);
}

function queued(job) {
  const place = job.queue?.position;
  const title = place > 1 ? `${ordinal(place)} in line` : "Waiting";
  const eta = job.queue?.eta_seconds;
  const detail = [job.queue?.reason, eta ? `Done in ${about(eta)}.` : null].filter(Boolean).join(" ");
  return { title, detail: detail || "Saved. It will be rendered even if you close this page." };
}

function running(job) {
  const progress = job.progress;
  if (!progress || !progress.steps) return STARTING;
  if (progress.step >= progress.steps && progress.value >= 1) return { title: "Saving", detail: "Decoding and writing the file…" };
  const speed = progress.seconds_per_step ? `${seconds(progress.seconds_per_step)} a step` : null;
  const left = progress.eta_seconds > 0 ? `${about(progress.eta_seconds)} left` : null;
  const all = job.input.num_images > 1 ? `${job.input.num_images} images` : null;
  return { title: `Step ${progress.step} of ${progress.steps}`, detail: [all, left, speed].filter(Boolean).join(", ") };
}

// Returns 0 to 1, or null while there is no progress.
export function barValue(job) {
  return job.status === "running" && job.progress ? Math.min(Math.max(job.progress.value, 0), 1) : null;
}

export function troubleOf(job) {
  const why = job.error?.message ?? "";
  switch (job.status) {
    case "failed":
      return { title: "This one failed", detail: why };
    case "held":
      return { title: `Held after ${job.attempt} of ${job.max_attempts} attempts`, detail: why };
    case "expired":
      return { title: "Expired before it could start", detail: why, calm: true };
    case "canceled":
      return { title: "Canceled", detail: "", calm: true };
    case "queued":
      return job.attempt > 0 && why ? { title: `Attempt ${job.attempt} failed; it will be retried`, detail: why, calm: true } : null;
    default:
      return null;
  }
}
