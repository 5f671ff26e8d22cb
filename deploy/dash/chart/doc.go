// Package chart draws charts as inline SVG for html/template: lines over time with
// bands, marks and levels, pairs of bars, rows of intervals, calibration, and
// sparklines. It is pure: values go in, a template.HTML comes out, and the same
// values give the same bytes.
//
// What comes out has no colour, no font and no style attribute in it. It has
// classes, and static/chart.css of the page gives them colours for light and dark,
// so that a Content-Security-Policy without inline styles holds. Series differ by
// dash or shape as well as by colour. Each chart has its gist in words, and its
// values as a table. static/chart.js adds a crosshair where scripts run; nothing
// needs it.
//
// Times are microseconds since the Unix epoch and are shown in UTC. NaN, infinities
// and values beyond 1e300 are missing, and what is missing is a gap: nothing is
// drawn across it.
//
// # Size
//
// A drawing takes as much as its width has, not as many as there are points: of each
// unit of width only the least and the greatest value are drawn, in the order in
// which they came, besides the first and the last of all. So no extreme is lost. A
// gap narrower than a unit does not show. Up to twice as many points as units are
// drawn as they are. Limits of the rest are the Max constants; what is left out is
// counted in the chart's description.
//
// # Why no library
//
// go-analyze/charts (0.6) and gonum/plot (0.17) were tried. Both write the colour and
// font of each element into a style attribute, which the policy refuses and which
// knows one theme; both know no description, table or focus. The former lays points
// out by category and not by time. The latter's tick finder could serve, but comes
// with font, TeX and PDF modules, and its time ticks do not keep to months.
package chart
