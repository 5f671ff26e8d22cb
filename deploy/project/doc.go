// Package project reads the project file: the sources, the views and the
// engines that a millrace process runs with, as one strict YAML file or as the
// same Go values.
//
// Load and Parse report every fault of a file at once, each with its line and
// with what to do. What a file says and what a program puts together in Go pass
// the same checks, those of Project.Check.
package project
