package main

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace/millrace/loadtest/collisions"
)

// writeCollisions writes a set of so many rows: collisions PREFIX ROWS
func writeCollisions(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: collisions PREFIX ROWS")
	}
	rows, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(collisions.Generate(rows, 1).Write(ts.MkAbs(args[0])))
}
