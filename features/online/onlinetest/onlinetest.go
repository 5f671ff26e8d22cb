// Package onlinetest is the suite that each online.Store passes, and a Redis
// server for tests.
package onlinetest

import (
	"context"
	"testing"

	"github.com/millrace/millrace/features/online"
)

// A Place is where a store under test keeps its rows.
type Place interface {
	// Open opens the place, on what earlier stores have left. The suite closes
	// the store before the next Open, unless Crash came first.
	Open(t *testing.T) online.Store
	// Save makes all that is committed survive a Crash.
	Save(t *testing.T)
	// Crash ends the open store's process or server. What was committed since
	// the last Save may be lost, in part or altogether.
	Crash(t *testing.T)
}

// Run runs the suite. It calls place for each test, for an empty place.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"first commit", testFirst},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, place(t)) })
	}
}

func testFirst(t *testing.T, p Place) {
	s := p.Open(t)
	defer s.Close()
	shard := online.Shard{Space: "a", Index: 3}
	c := &online.Commit{Shard: shard, Next: online.NewToken(), Writes: []online.Write{{Entity: "x", Head: []byte("h"), Base: []byte("b")}}}
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	rows, states, err := s.Read(context.Background(), []online.Key{{Shard: shard, Entity: "x"}, {Shard: shard, Entity: "y"}})
	t.Log(rows, states, err)
	for e, err := range s.Rows(context.Background(), "a") {
		t.Log(e, err)
	}
}
