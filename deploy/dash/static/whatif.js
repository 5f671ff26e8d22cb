// What if: an answer follows each change of the form. Without this module the form
// is sent as forms are.

const PAUSE = 250; // milliseconds without a change before it asks

const form = document.getElementById("whatif");
const panel = document.getElementById("answer");
const table = document.getElementById("answer-features");
let asked, timer;

function lengthOf(range) {
	const unit = range.dataset.unit;
	const was = range.value === range.dataset.used ? "" : ` (is ${range.dataset.used} ${unit})`;
	return `${range.value} ${unit}${was}`;
}

// question is the form's fields but those that change nothing.
function question() {
	const fields = new URLSearchParams();
	for (const [name, value] of new FormData(form)) {
		const used = form.elements[name].dataset?.used;
		if (value !== "" && value !== used) fields.append(name, value);
	}
	return fields;
}

function say(text, kind) {
	let p = panel.querySelector("p.said");
	if (!p) {
		p = document.createElement("p");
		panel.prepend(p);
	}
	p.className = `said ${kind}`;
	p.textContent = text;
}

async function ask() {
	clearTimeout(timer);
	asked?.abort();
	if (!form.checkValidity()) return;
	const mine = asked = new AbortController();
	const fields = question();
	panel.setAttribute("aria-busy", "true");
	try {
		const answer = await fetch(`/ui/whatif.json?${fields}`, { signal: mine.signal });
		if (!answer.ok) throw new Error((await answer.json()).error);
		await read(answer.body, (line) => {
			if (line.error) throw new Error(line.error);
			if (line.of) say(`Reading the lake: ${Math.min(100, Math.floor(100 * line.done / line.of))} %`, "progress");
			if (line.html) show(line, fields);
		});
	} catch (why) {
		if (mine.signal.aborted) return; // a newer question is under way
		say(why instanceof TypeError ? "The server cannot be reached. Change something to ask again." : why.message, "note bad");
	}
	if (asked === mine) panel.removeAttribute("aria-busy");
}

// read calls line for each line of JSON.
async function read(body, line) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	for (let rest = "";;) {
		const { value, done } = await reader.read();
		rest += value ?? "";
		const lines = rest.split("\n");
		rest = lines.pop();
		for (const text of lines) if (text) line(JSON.parse(text));
		if (done) return;
	}
}

function show(line, fields) {
	panel.innerHTML = line.html; // the server's templates have escaped it
	table.innerHTML = line.table;
	table.hidden = false;
	history.replaceState(null, "", `/ui/whatif?${fields}`);
	document.dispatchEvent(new CustomEvent("millrace:refreshed"));
}

if (form) {
	form.addEventListener("input", (e) => {
		if (e.target.type === "range") e.target.parentElement.querySelector("output").textContent = lengthOf(e.target);
		if (e.target.name === "model" || e.target.name === "q") return;
		clearTimeout(timer);
		timer = setTimeout(ask, PAUSE);
	});
	form.elements.model.addEventListener("change", () => { location.href = `/ui/whatif?model=${encodeURIComponent(form.elements.model.value)}`; });
	form.addEventListener("submit", (e) => {
		if (e.submitter?.name === "find") return;
		e.preventDefault();
		ask();
	});
}
