// Package browser drives the page of a running demo with Chromium: every page is
// opened, a candidate approved, an alarm acknowledged and a window dragged, while
// the console stays silent and axe-core finds nothing serious. Its tests have the
// build tag browser; "make test-browser" runs them.
//
// It is a module of its own, so that the driver does not weigh on the product's
// dependencies.
package browser
