// What a pointer, a finger or the arrow keys show on a chart: a crosshair at the
// nearest point, and its time, values and intervals in words. It reads what package
// chart left in the figure and asks no server. Charts that come to the page later
// work too: nothing is set up before it is needed.

const SVG = "http://www.w3.org/2000/svg";
const NEAR = 1.5; // units of width within which a point of another series is the same place
const NEAR_MARK = 6;
const MOST_MARKS = 4; // in one tip

const kinds = { onset: "alarm began", over: "alarm ended", change: "change point", version: "other version", right: "right", wrong: "wrong", pending: "not known yet" };

const charts = new WeakMap();
let active = null; // the chart whose crosshair is shown

// chartOf returns the chart of a figure, and what it needs of it.
function chartOf(figure) {
	let chart = charts.get(figure);
	if (chart) return chart;
	const source = figure.querySelector("script.chart-values");
	const svg = figure.querySelector(".chart-svg");
	if (!source || !svg) return null;
	const v = inMicroseconds(JSON.parse(source.textContent));
	const places = new Set();
	for (const s of v.series) for (const x of s.x) places.add(x);
	for (const m of v.marks ?? []) places.add(m.x);
	chart = {
		figure, svg, v, at: -1,
		xs: Float64Array.from(places).sort(),
		scroll: svg.closest(".chart-scroll"),
		cross: svg.appendChild(document.createElementNS(SVG, "g")),
		tip: figure.appendChild(document.createElement("div")),
		say: figure.appendChild(document.createElement("p")),
	};
	chart.days = v.time && chart.xs.every((x) => x % 864e8 === 0);
	chart.cross.setAttribute("class", "cross");
	chart.tip.className = "chart-tip";
	chart.tip.setAttribute("aria-hidden", "true"); // say says it
	chart.tip.hidden = true;
	chart.say.className = "chart-say";
	chart.say.setAttribute("role", "status");
	unnameTip(svg);
	charts.set(figure, chart);
	return chart;
}

function inMicroseconds(v) {
	if (!v.time) return v;
	for (const s of v.series) s.x = s.x.map((x) => x * v.per);
	for (const m of v.marks ?? []) m.x *= v.per;
	return v;
}

// unnameTip keeps the browser from showing the drawing's name over our tip.
function unnameTip(svg) {
	const title = svg.querySelector("title");
	if (!title) return;
	svg.setAttribute("aria-label", title.textContent);
	title.remove();
}

const toX = (v, x) => v.plot[0] + (x - v.x[0]) / (v.x[1] - v.x[0]) * (v.plot[2] - v.plot[0]);
const fromX = (v, px) => v.x[0] + (px - v.plot[0]) / (v.plot[2] - v.plot[0]) * (v.x[1] - v.x[0]);

function toY(v, y) {
	const of = v.log ? Math.log10 : (z) => z;
	const share = (of(y) - of(v.y[0])) / (of(v.y[1]) - of(v.y[0]));
	return Math.min(Math.max(v.plot[3] + share * (v.plot[1] - v.plot[3]), v.plot[1]), v.plot[3]);
}

// nearest returns the index of the value that is nearest to x; xs rise.
function nearest(xs, x) {
	let lo = 0, hi = xs.length - 1;
	while (lo < hi) {
		const mid = (lo + hi) >> 1;
		if (xs[mid] < x) lo = mid + 1;
		else hi = mid;
	}
	return lo > 0 && x - xs[lo - 1] <= xs[lo] - x ? lo - 1 : lo;
}

function number(y) {
	const a = Math.abs(y);
	if (a !== 0 && (a < 1e-4 || a >= 1e15)) return y.toExponential(3).replace("-", "−");
	return y.toLocaleString("en", a >= 1000 ? { maximumFractionDigits: a < 1e4 ? 1 : 0 } : { maximumSignificantDigits: 4 }).replace("-", "−");
}

function place(chart, x) {
	if (!chart.v.time) return [chart.v.xname, number(x)].filter(Boolean).join(" ");
	const text = new Date(x / 1000).toISOString();
	if (chart.days) return text.slice(0, 10) + " UTC";
	return text.slice(0, 10) + " " + text.slice(11, text.endsWith("00.000Z") ? 16 : 19) + " UTC";
}

// pointAt returns the index of the point that a series has at x, or -1.
function pointAt(chart, s, x) {
	if (s.x.length === 0) return -1;
	let i = nearest(s.x, x);
	if (s.step && s.x[i] > x) i--;
	if (i < 0) return -1;
	if (s.step) return i;
	return Math.abs(toX(chart.v, s.x[i]) - toX(chart.v, x)) <= NEAR ? i : -1;
}

// show puts the crosshair at the point of an index. aloud: screen readers say it.
function show(chart, index, aloud) {
	if (active && active !== chart) hide();
	active = chart;
	if (index === chart.at && !aloud) return;
	chart.at = index;
	const { v } = chart, x = chart.xs[index], px = toX(v, x);
	const line = document.createElementNS(SVG, "line");
	for (const [name, value] of [["x1", px], ["x2", px], ["y1", v.plot[1]], ["y2", v.plot[3]]]) line.setAttribute(name, value);
	const drawn = [line], told = [row("", place(chart, x), "")];
	for (const s of v.series) {
		const i = pointAt(chart, s, x);
		if (i < 0) continue;
		if (s.y) drawn.push(dot(s.class, toX(v, s.x[i]), toY(v, s.y[i])));
		told.push(row(s.class, s.name, words(s, i, v.unit)));
	}
	const marks = (v.marks ?? []).filter((m) => Math.abs(toX(v, m.x) - px) <= NEAR_MARK);
	for (const m of marks.slice(0, MOST_MARKS)) told.push(row("m-" + m.kind, kinds[m.kind] ?? m.kind, m.text));
	if (marks.length > MOST_MARKS) told.push(row("", `${marks.length - MOST_MARKS} more marks here`, ""));
	chart.cross.replaceChildren(...drawn);
	chart.tip.replaceChildren(...told);
	chart.tip.hidden = false;
	if (aloud) {
		chart.say.textContent = told.map((p) => p.textContent).join("; ");
		reveal(chart, px);
	}
	put(chart, px);
}

function words(s, i, unit) {
	const range = s.lo && s.lo[i] !== null ? `${number(s.lo[i])} to ${number(s.hi[i])}` : "";
	if (!s.y) return range || "none";
	return number(s.y[i]) + (unit ? " " + unit : "") + (range ? ` (${range})` : "");
}

function row(kind, name, text) {
	const p = document.createElement("p");
	if (kind) {
		p.append(Object.assign(document.createElement("i"), { className: kind }));
		p.append(text ? name + ": " : name);
		p.append(Object.assign(document.createElement("b"), { textContent: text }));
	} else {
		p.append(Object.assign(document.createElement("b"), { textContent: name }));
	}
	return p;
}

function dot(kind, x, y) {
	const c = document.createElementNS(SVG, "circle");
	for (const [name, value] of [["class", kind], ["cx", x], ["cy", y], ["r", 4]]) c.setAttribute(name, value);
	return c;
}

// put places the tip beside the crosshair, on the side that has more room.
function put(chart, px) {
	const figure = chart.figure.getBoundingClientRect(), svg = chart.svg.getBoundingClientRect();
	const x = svg.left - figure.left + px * svg.width / chart.svg.viewBox.baseVal.width;
	const width = chart.tip.offsetWidth;
	const left = x > figure.width / 2 ? x - width - 12 : x + 12;
	chart.tip.style.left = Math.max(0, Math.min(left, figure.width - width)) + "px";
	chart.tip.style.top = svg.top - figure.top + 4 + "px";
}

// reveal scrolls a wide drawing to the crosshair.
function reveal(chart, px) {
	const box = chart.scroll, x = px * chart.svg.clientWidth / chart.svg.viewBox.baseVal.width;
	if (x < box.scrollLeft + 24 || x > box.scrollLeft + box.clientWidth - 24) box.scrollLeft = x - box.clientWidth / 2;
}

function hide() {
	if (!active) return;
	active.tip.hidden = true;
	active.cross.replaceChildren();
	active.at = -1;
	active = null;
}

// figureOf returns the chart of what an event is about, if that is a drawing of ours.
function drawingOf(event, selector) {
	const hit = event.target instanceof Element ? event.target.closest(selector) : null;
	const figure = hit?.closest("[data-chart]");
	const chart = figure ? chartOf(figure) : null;
	return chart && chart.xs.length > 0 && chart.scroll.contains(hit) ? chart : null;
}

function point(event) {
	const chart = drawingOf(event, ".chart-svg");
	if (!chart) {
		if (active && !active.scroll.contains(document.activeElement)) hide();
		return;
	}
	const box = chart.svg.getBoundingClientRect();
	const px = (event.clientX - box.left) / box.width * chart.svg.viewBox.baseVal.width;
	show(chart, nearest(chart.xs, fromX(chart.v, px)), false);
}

const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity };

function press(event) {
	const chart = drawingOf(event, ".chart-scroll");
	if (!chart || event.altKey || event.ctrlKey || event.metaKey) return;
	if (event.key === "Escape") return hide();
	const by = steps[event.key];
	if (by === undefined) return;
	event.preventDefault();
	const last = chart.xs.length - 1;
	const from = chart.at < 0 ? (by < 0 ? last + 1 : -1) : chart.at;
	show(chart, Math.max(0, Math.min(last, from + by)), true);
}

document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.addEventListener("keydown", press);
document.addEventListener("focusout", (event) => {
	if (drawingOf(event, ".chart-scroll") === active) hide();
});
window.addEventListener("blur", hide);
