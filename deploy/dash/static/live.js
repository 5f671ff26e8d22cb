// Every page loads this module. It follows the server's events: texts change in
// place, parts that have changed are fetched anew, and it says so when nothing
// comes any more.

const SILENCE = 12000; // milliseconds; the server says something every five seconds
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;

const connection = document.getElementById("connection");
let source, revision, silence, wait = FIRST_WAIT;
let stale = false;

function say(text, lost) {
	if (connection.textContent === text) return;
	connection.hidden = false;
	connection.textContent = text;
	connection.classList.toggle("lost", lost);
}

function heard() {
	wait = FIRST_WAIT;
	say("Live", false);
	clearTimeout(silence);
	silence = setTimeout(lost, SILENCE);
}

// lost lets go of a connection and tries again, later each time.
function lost() {
	clearTimeout(silence);
	source?.close();
	source = undefined;
	say("Connection lost, trying again", true);
	setTimeout(connect, wait);
	wait = Math.min(wait * 2, LONGEST_WAIT);
}

function connect() {
	if (source || document.hidden) return;
	source = new EventSource("/ui/events");
	silence = setTimeout(lost, SILENCE);
	source.addEventListener("state", (e) => { heard(); show(JSON.parse(e.data)); });
	source.addEventListener("beat", heard);
	source.onerror = lost;
}

function show(state) {
	for (const e of document.querySelectorAll("[data-figure]")) {
		const text = state.figures[e.dataset.figure];
		if (text !== undefined && e.textContent !== text) e.textContent = text;
	}
	for (const e of document.querySelectorAll("[data-level]")) {
		const level = state.levels[e.dataset.level] ?? "";
		if (e.dataset.is !== level) e.dataset.is = level;
	}
	if (revision !== undefined && revision !== state.revision) stale = true;
	revision = state.revision;
	if (stale) refresh();
}

// busy says whether somebody is at work in a part of the page: it must not change
// under their hands.
function busy(part) {
	if (part.contains(document.activeElement) || part.querySelector("details[open] form, dialog[open]")) return true;
	return [...part.querySelectorAll("textarea, input:not([type=hidden])")].some((e) => e.value !== e.defaultValue);
}

let fetching = false;
async function refresh() {
	const parts = [...document.querySelectorAll("[data-refresh]")];
	if (fetching || parts.length === 0) { stale = parts.length > 0; return; }
	if (parts.some(busy)) return; // the next message asks again
	fetching = true;
	try {
		const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
		if (!answer.ok) return;
		const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
		if (parts.some(busy)) return;
		for (const part of parts) {
			const now = fresh.getElementById(part.id);
			if (now) part.replaceWith(document.adoptNode(now));
		}
		stale = false;
		document.dispatchEvent(new CustomEvent("millrace:refreshed"));
	} catch {
		// The connection says when the server is back.
	} finally {
		fetching = false;
	}
}

// A page that nobody sees follows nothing: it asks when it is looked at again.
document.addEventListener("visibilitychange", () => {
	if (document.hidden) {
		clearTimeout(silence);
		source?.close();
		source = undefined;
	} else {
		connect();
	}
});
addEventListener("pagehide", () => source?.close());
connect();
