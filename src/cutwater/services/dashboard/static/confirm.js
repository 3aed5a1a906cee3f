// Ask before something is changed; resolves to whether it shall be.

import { h, render } from "./dom.js";

export function confirmed({ title, text, act, grave }) {
  const dialog = document.getElementById("ask");
  return new Promise((done) => {
    render(dialog, h("form", { method: "dialog", key: title },
      h("h2", { id: "ask-title" }, title), h("p", {}, text),
      h("div", { class: "row" }, h("button", { value: "no", autofocus: true }, "Cancel"), h("button", { value: "yes", class: grave ? "grave" : "main" }, act))));
    dialog.onclose = () => done(dialog.returnValue === "yes");
    dialog.returnValue = "no";
    dialog.showModal();
  });
}
