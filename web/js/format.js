// Formats of numbers, durations and states.

export function seconds(value) {
  if (value < 1) return `${Math.max(1, Math.round(value * 1000))} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function about(value) {
  if (value < 1.5) return "about a second";
  return value < 90 ? `about ${Math.round(value)} s` : `about ${seconds(value)}`;
}

export function ordinal(number) {
  const tail = number % 100;
  const ending = tail > 10 && tail < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th");
  return `${number}${ending}`;
}

export const STATUS_LABELS = {
  queued: "Waiting",
  running: "Rendering",
  succeeded: "Done",
  failed: "Failed",
  canceled: "Canceled",
  expired: "Expired",
  held: "Held",
};

const SETTLED = new Set(["succeeded", "failed", "canceled", "expired", "held"]);

export function isSettled(job) {
  return SETTLED.has(job.status);
}

// outputs_YYYYMMDDHHMMSS.png, as the command line names its exports.
export function fileName(job, output) {
  const moment = new Date(job.completed_at ?? job.created_at);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${moment.getFullYear()}${two(moment.getMonth() + 1)}${two(moment.getDate())}`;
  const time = `${two(moment.getHours())}${two(moment.getMinutes())}${two(moment.getSeconds())}`;
  return `outputs_${day}${time}${output.index ? `_${two(output.index)}` : ""}.${output.format}`;
}
