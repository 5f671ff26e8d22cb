package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/eval"
)

// doInRegistry does what trainer and deployer do, for a model named big_move:
//
//	registry FILE train | stop | promote=VERSION | close=VERSION | begin=VERSION | switch | finish | undo | rate=LABELS ...
func doInRegistry(ts *testscript.TestScript, neg bool, args []string) {
	r, err := registry.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer r.Close()
	for _, step := range args[1:] {
		verb, text, _ := strings.Cut(step, "=")
		number, _ := strconv.Atoi(text)
		ts.Check(doStep(r, verb, number))
	}
}

func doStep(r *registry.Registry, verb string, number int) error {
	ctx := context.Background() // a script has none
	const model = "big_move"
	ro, _, err := r.Rollout(ctx, model)
	if err != nil {
		return err
	}
	s, err := r.Serving(ctx, model)
	if err != nil {
		return err
	}
	switch verb {
	case "train", "stop":
		runs, err := r.Runs(ctx, model)
		if err != nil {
			return err
		}
		run, v := aRun(len(runs)+1, verb == "train")
		_, err = r.AddRun(ctx, run, v)
		return err
	case "promote", "close":
		j := aJudgement(verb == "promote")
		report, err := json.Marshal(j)
		if err != nil {
			return err
		}
		at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		return r.Judge(ctx, model, number, registry.Judgement{Verdict: string(j.Verdict), Reasons: j.Reasons, Report: report, Baseline: s.Champion, At: at})
	case "begin":
		_, err := r.Begin(ctx, model, number, nil)
		return err
	case "switch":
		return r.Switch(ctx, ro.ID, nil)
	case "finish":
		return r.Finish(ctx, ro.ID, json.RawMessage(`{"watched":500}`))
	case "undo":
		ro, who, why, ok, err := r.RollbackRequested(ctx, model)
		if err != nil || !ok {
			return fmt.Errorf("nobody has asked for a rollback (%v)", err)
		}
		return r.Undo(ctx, ro.ID, who+": "+why, nil)
	}
	if verb == "rate" {
		return r.SetBaseRate(ctx, model, registry.BaseRate{Value: 0.25, Count: int64(number), AsOf: 1})
	}
	return fmt.Errorf("%q is no step", verb)
}

// aRun is the n-th run of the trainer.
func aRun(n int, trained bool) (registry.Run, *registry.Version) {
	began := time.Date(2026, 4, n, 10, 0, 0, 0, time.UTC)
	run := registry.Run{
		Model: "big_move", Began: began, Ended: began.Add(1500 * time.Millisecond),
		Spec: json.RawMessage(fmt.Sprintf(`{"features":["daily.ret","daily.std"],"learner":"ftrl","params":{"alpha":%v},"ranges":[{"partition":0,"first":0,"next":%d}],"seed":7}`, 0.1/float64(n), 500*n)),
	}
	if !trained {
		run.Status, run.Anomalies, run.Error = registry.Stopped, json.RawMessage(`[{"name":"daily.ret","text":"missing in 90 %"}]`), "daily.ret: missing in 90 %"
		return run, nil
	}
	run.Status, run.Bundle = registry.Trained, strings.Repeat(strconv.Itoa(n), 64)
	run.Report = json.RawMessage(fmt.Sprintf(`{"examples":%d,"progressive_loss":0.5}`, 1000*n))
	return run, &registry.Version{Author: "trainer", Cutoff: began.UnixMicro()}
}

// aJudgement is a gate's, of a candidate that knows more than the champion, or
// the other way round.
func aJudgement(better bool) eval.Judgement {
	c := &eval.Cohort{Slices: map[string][]string{"symbol": nil}}
	for i := range 2000 {
		label := float64(i * 7 % 5 / 3) // two of five
		c.Time = append(c.Time, int64(i/2)*time.Hour.Microseconds())
		c.Label = append(c.Label, label)
		c.Candidate = append(c.Candidate, 0.4+0.2*(label-0.4))
		c.Champion = append(c.Champion, 0.4)
		c.Slices["symbol"] = append(c.Slices["symbol"], []string{"AAPL", "MSFT"}[i%2])
	}
	if !better {
		c.Candidate, c.Champion = c.Champion, c.Candidate
	}
	return eval.Judge("binary", eval.Gate{Rows: 1000, Slices: []string{"symbol"}}, time.Hour, c)
}

func TestFlattenNamesMembersOfLists(t *testing.T) {
	doc := `{"a":1.50,"b":[{"name":"x","n":2},{"partition":3,"n":12345678901234567890},{"z":null}],"f":["p.q"],"t":true,"e":{},"l":[],"c":{"args":["a b","-x","-x"],"none":[],"mixed":["y",1]}}`
	want := map[string]string{"a": "1.50", "b.x.name": "x", "b.x.n": "2", "b.3.partition": "3", "b.3.n": "12345678901234567890", "b.2.z": "null", "f.p.q": "yes", "t": "true",
		"c.args": `["a b","-x","-x"]`, "c.mixed.y": "yes", "c.mixed.1": "1"}
	if got := flatten(json.RawMessage(doc)); !maps.Equal(got, want) {
		t.Errorf("flattened to\n%v, want\n%v", got, want)
	}
	for _, nothing := range []string{``, `{`, `{}`, `[]`} {
		if got := flatten(json.RawMessage(nothing)); len(got) != 0 {
			t.Errorf("%q flattened to %v", nothing, got)
		}
	}
	a, b := map[string]string{"same": "1", "other": "2", "gone": "3"}, map[string]string{"same": "1", "other": "x", "new": "4"}
	if got, want := differences(a, b), []difference{{"gone", "3", ""}, {"new", "", "4"}, {"other", "2", "x"}}; !slices.Equal(got, want) {
		t.Errorf("differences %v, want %v", got, want)
	}
}

func TestPrintFields(t *testing.T) {
	var b strings.Builder
	doc := `{"features":["b.x","a.y"],"params":{"exec":["sh","learn.sh",">"],"params":{"early":"yes"}},"window":7}`
	if err := printFields(&b, "title", json.RawMessage(doc)); err != nil {
		t.Fatal(err)
	}
	const want = `
title
  features             a.y, b.x
  params.exec          ["sh","learn.sh",">"]
  params.params.early  yes
  window               7
`
	if b.String() != want {
		t.Errorf("printed %s\nwant %s", b.String(), want)
	}
}

// TestRollbackAnswer asks to undo rollouts and wants the answer to name them,
// whether the deployer has come by since or not.
func TestRollbackAnswer(t *testing.T) {
	r, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	do := func(verb string, number int) {
		t.Helper()
		if err := doStep(r, verb, number); err != nil {
			t.Fatal(err)
		}
	}
	want := func(text string) {
		t.Helper()
		ro, err := askedFor(t.Context(), r, "big_move")
		if got := sayRollback(ro); err != nil || got != text {
			t.Errorf("%s, %v; want %s", got, err, text)
		}
	}
	ask := func() {
		t.Helper()
		if err := r.RequestRollback(t.Context(), "big_move", "ann", "no good"); err != nil {
			t.Fatal(err)
		}
	}
	for version := 1; version <= 2; version++ {
		do("train", 0)
		do("promote", version)
		if err := r.Approve(t.Context(), "big_move", version, "ann", ""); err != nil {
			t.Fatal(err)
		}
		do("begin", version)
		if version == 1 {
			do("switch", 0)
			do("finish", 0)
		}
	}
	ask()
	want(`version 2 of big_move will be taken back, and version 1 stays; "millrace run" does it`)
	do("undo", 0)
	want("version 2 of big_move has been taken back, and version 1 serves")
	ask()
	want(`version 1 of big_move will be taken back, and the base rate comes back; "millrace run" does it`)
	do("undo", 0)
	want("version 1 of big_move has been taken back, and the base rate serves")
}
