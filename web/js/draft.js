// Form values that are not submitted yet, stored in this browser so that they survive a refresh.

const KEY = "imagefarm.draft";

export function loadDraft() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

export function saveDraft(draft) {
  try {
    localStorage.setItem(KEY, JSON.stringify(draft));
  } catch {
    // Private windows may refuse storage; the draft is then lost with the page.
  }
}
