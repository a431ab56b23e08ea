// Sign-in dialog of farms that require an API key. The farm exchanges the key for a session, in a cookie that scripts cannot read.

import { SIGNED_OUT, signIn, signOut } from "../api.js";
import { byId, setText, show } from "../dom.js";

export function createSignIn() {
  const dialog = byId("signin");
  const field = byId("key");

  function ask() {
    if (!dialog.open) dialog.showModal();
  }

  async function send(event) {
    event.preventDefault();
    show(byId("key-error"), false);
    try {
      await signIn(field.value.trim());
      location.reload();
    } catch (problem) {
      setText(byId("key-error"), problem.status === 422 ? "That is not an API key: copy it whole." : problem.message);
      show(byId("key-error"), true);
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
  }

  byId("signin-form").addEventListener("submit", send);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  window.addEventListener(SIGNED_OUT, ask);
  byId("sign-out").addEventListener("click", async () => {
    await signOut();
    location.reload();
  });

  return {
    // Returns whether the page may continue; opens the dialog otherwise.
    check(session) {
      show(byId("sign-out"), session.keys_needed && session.signed_in);
      if (session.signed_in || !session.keys_needed) return true;
      ask();
      return false;
    },
  };
}
