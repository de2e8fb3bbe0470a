"use strict";
(() => {
	// A button beside each command copies it. If the browser gives pages no access to the clipboard, it selects the text.
	for (const [i, box] of document.querySelectorAll(".command").entries()) {
		const button = document.createElement("button"), code = box.querySelector("code");
		button.type = "button";
		button.textContent = "Copy";
		button.setAttribute("aria-label", i ? `Copy command ${i + 1}` : "Copy the command");
		const said = document.createElement("span");
		said.setAttribute("role", "status");
		button.addEventListener("click", async () => {
			try {
				await navigator.clipboard.writeText(code.textContent);
				said.textContent = "Copied";
			} catch {
				getSelection().selectAllChildren(code);
				said.textContent = document.execCommand("copy") ? "Copied" : "Selected";
			}
			setTimeout(() => said.textContent = "", 3000);
		});
		box.append(button, said);
	}

	const table = document.getElementById("slices");
	if (!table) return;
	const body = table.tBodies[0], rows = [...body.rows];

	// Sorting: a button in each heading; the first press sorts upwards, numbers downwards.
	const collator = new Intl.Collator("en", { numeric: true });
	for (const [column, th] of [...table.tHead.rows[0].cells].entries()) {
		const button = document.createElement("button");
		button.type = "button";
		button.append(...th.childNodes);
		th.append(button);
		button.addEventListener("click", () => {
			const before = th.getAttribute("aria-sort");
			const first = th.classList.contains("number") ? "descending" : "ascending";
			const second = first === "ascending" ? "descending" : "ascending";
			const now = before === first ? second : first;
			for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
			th.setAttribute("aria-sort", now);
			const sign = now === "ascending" ? 1 : -1;
			rows.sort((a, b) => sign * collator.compare(a.cells[column].textContent, b.cells[column].textContent));
			body.append(...rows);
		});
	}

	// Filtering: by text anywhere in a row, and by status.
	const form = document.getElementById("filter"), find = document.getElementById("find");
	const boxes = [...form.querySelectorAll("input[type=checkbox]")];
	const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
	const show = () => {
		const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
		const statuses = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
		let shown = 0;
		for (const row of rows) {
			const text = texts.get(row);
			row.hidden = !statuses.has(row.dataset.status) || !words.every((word) => text.includes(word));
			if (!row.hidden) shown++;
		}
		document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
	};
	form.hidden = false;
	form.addEventListener("input", show);
	form.addEventListener("submit", (event) => event.preventDefault());
	show();

	// A link to a closed slice opens it.
	const open = () => {
		const slice = document.getElementById(location.hash.slice(1))?.closest("details");
		if (slice) slice.open = true;
	};
	addEventListener("hashchange", open);
	open();
})();
