// What is typed but not yet sent: kept in this browser, so that a refresh loses nothing.

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
    // Private windows may refuse; then the draft simply ends with the page.
  }
}
