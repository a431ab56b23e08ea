// A quiet sound and a notification when a long job ends, only where the user has asked for them in the settings.

import {readPreference} from "./preferences.js";
import {t} from "./text.js";

const LONG_SECONDS = 15;

export function createNotices(jobs) {
	const open = new Map(); // id -> whether it was seen open
	jobs.subscribe(() => {
		for (const job of jobs.all()) {
			const active = job.status === "queued" || job.status === "running";
			if (open.get(job.id) && !active && (job.timings.total_seconds ?? 0) >= LONG_SECONDS) tell(job);
			open.set(job.id, active);
		}
	});
}

function tell(job) {
	if (readPreference("sound")) beep();
	if (readPreference("notify") && document.hidden && window.Notification?.permission === "granted") {
		new Notification(t(`status.${job.status}`), {body: job.input.prompt?.slice(0, 120) ?? "", tag: job.id});
	}
}

export function beep() {
	const context = new AudioContext();
	const tone = context.createOscillator();
	const volume = context.createGain();
	tone.frequency.value = 660;
	volume.gain.setValueAtTime(0.0001, context.currentTime);
	volume.gain.exponentialRampToValueAtTime(0.05, context.currentTime + 0.03);
	volume.gain.exponentialRampToValueAtTime(0.0001, context.currentTime + 0.5);
	tone.connect(volume).connect(context.destination);
	tone.start();
	tone.stop(context.currentTime + 0.55);
	tone.onended = () => context.close();
}
