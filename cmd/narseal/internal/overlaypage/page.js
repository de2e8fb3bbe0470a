"use strict";
// The page does not know its own URL; the browser does.
if (location.protocol === "https:" || location.protocol === "http:") {
	const url = new URL(".", location.href).href.replace(/\/$/, "");
	for (const e of document.querySelectorAll(".url")) e.textContent = url;
}
