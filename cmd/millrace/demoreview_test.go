package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/loadtest/stocks"
)

// TestDemoApprovesTheBetter wants of candidates of the same examples one approved,
// the one with less loss, also on the days on which that one is on its way; and a
// candidate of other examples beside it.
func TestDemoApprovesTheBetter(t *testing.T) {
	reg, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	runs := 0
	promoted := func(cutoff int64, loss float64) {
		now := time.Now()
		runs++
		run := registry.Run{
			Model: stocks.Model, Status: registry.Trained, Began: now, Ended: now,
			Spec: json.RawMessage(fmt.Sprintf(`{"run":%d}`, runs)), Bundle: fmt.Sprint("bundle", runs),
		}
		run, err := reg.AddRun(t.Context(), run, &registry.Version{Author: "trainer", Cutoff: cutoff})
		if err != nil {
			t.Fatal(err)
		}
		j := registry.Judgement{Verdict: "promote", Reasons: []string{"it is better"}, Report: json.RawMessage(fmt.Sprintf(`{"loss":{"candidate":%v}}`, loss)), At: cutoff + 1}
		if err := reg.Judge(t.Context(), stocks.Model, run.Version, j); err != nil {
			t.Fatal(err)
		}
	}
	promoted(1000, 0.5)
	promoted(1000, 0.4)
	promoted(1000, 0.4) // no better than the second
	promoted(2000, 0.6)
	l := &demoLoop{demo: &demo{demoCmd: &demoCmd{Approve: true}}, registry: reg, told: map[int]bool{}}
	for day := range 3 {
		if err := l.review(t.Context()); err != nil {
			t.Fatal(err)
		}
		for number, want := range map[int]registry.State{1: registry.Review, 2: registry.Approved, 3: registry.Review, 4: registry.Approved} {
			if v, err := reg.Version(t.Context(), stocks.Model, number); err != nil || v.State != want {
				t.Errorf("day %d: version %d is %s, want %s: %v", day, number, v.State, want, err)
			}
		}
	}
}
