// Sign-in dialog of farms that require an API key. The farm exchanges the key for a session, in a cookie that scripts cannot read.

import {post, remove, SIGNED_OUT} from "./api.js";
import {byId, on, prose, show} from "./dom.js";
import {t} from "./text.js";

export function createSignIn() {
	const dialog = byId("signin");
	const field = byId("key");
	byId("signin-hint").append(...prose(t("signin.hint")));

	function ask() {
		if (!dialog.open) dialog.showModal();
	}

	async function send(event) {
		event.preventDefault();
		show(byId("key-error"), false);
		try {
			await post("v1/session", {key: field.value.trim()});
			location.reload();
		} catch (problem) {
			byId("key-error").replaceChildren(...prose(problem.status === 422 ? t("signin.whole") : problem.message));
			show(byId("key-error"), true);
			field.ariaInvalid = true;
			field.focus();
		}
	}

	on(byId("signin-form"), "submit", send);
	on(dialog, "cancel", event => event.preventDefault());
	on(window, SIGNED_OUT, ask);
	on(byId("sign-out"), "click", async () => {
		await remove("v1/session");
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
