// Helpers that create and change elements. Text is never parsed as markup.

export const byId = (id) => document.getElementById(id);

// h("button", {class: "small", type: "button", onclick: f}, "Copy")
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  element.hidden = !visible;
}

// Returns a sentence with code between backticks as nodes; `code` creates the element of a code part.
export function prose(text, code = (part) => h("code", {}, part)) {
  return text.split("`").map((part, index) => (index % 2 ? code(part) : document.createTextNode(part)));
}

// Text for assistive technology: changes of state, not single steps.
export function announce(text) {
  byId("announcer").textContent = text;
}

// The clipboard interface exists only on https and localhost; elsewhere execCommand copies a selection.
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const box = h("textarea", { class: "unseen", "aria-hidden": "true" });
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}

export function copyButton(text, name) {
  const button = h("button", { type: "button", class: "small", "aria-label": `Copy ${name}` }, "Copy");
  button.addEventListener("click", async () => {
    await copyText(text);
    button.textContent = "Copied";
    announce(`Copied ${name}`);
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  return button;
}
