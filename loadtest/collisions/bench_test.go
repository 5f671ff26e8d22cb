package collisions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestBench(t *testing.T) {
	var steps []string
	var profile bytes.Buffer
	b := Bench{Data: Generate(6000, 4), Threads: 2, Rounds: 2, trees: 10, Profile: &profile, Step: func(s string) { steps = append(steps, s) }}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"round 1 of 2: millrace", "round 2 of 2: millrace"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if res.Rows != 6000 || res.TestRows != 1200 || res.Threads != 2 || len(res.Figures) != 1 || len(res.Rounds) != 2 || res.Ratios != nil || profile.Len() == 0 {
		t.Errorf("%+v, a profile of %d bytes", res, profile.Len())
	}
	ours := res.Figures[0]
	if !(ours.AUC > 0.64 && ours.AUC < res.BayesAUC && ours.LogLoss > res.BayesLoss && ours.LogLoss < 0.67) {
		t.Errorf("AUC %v and log loss %v, the truth's %v and %v", ours.AUC, ours.LogLoss, res.BayesAUC, res.BayesLoss)
	}
	if ours.Train.CPUSeconds <= 0 || ours.Bulk.CPUSeconds <= 0 || ours.One.P50 <= 0 || ours.One.P99 < ours.One.P50 || ours.One.Calls != calls {
		t.Errorf("%+v", ours)
	}
	first, second := res.Rounds[0][0], res.Rounds[1][0]
	if first.AUC != second.AUC || first.LogLoss != second.LogLoss {
		t.Errorf("the rounds' predictions differ: %+v, %+v", first, second)
	}
	if want := best(first, second); !reflect.DeepEqual(ours, want) {
		t.Errorf("%+v, want the best of both, %+v", ours, want)
	}
}

func TestBenchWithPeers(t *testing.T) {
	d := Generate(500, 4)
	p := open(t, interpreter(t, fmt.Sprintf(`echo '%s'`, printed)))
	half := slices.Repeat([]float64{0.5}, len(d.Test))
	for _, name := range names {
		writeScores(t, p.file(name+".f64"), half...)
	}
	res, err := Bench{Data: d, Threads: 1, Rounds: 1, trees: 2, Peers: p, Prefix: filepath.Join(t.TempDir(), "rows"), Step: func(string) {}}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Figures) != 5 || len(res.Ratios) != 4 {
		t.Fatalf("%+v", res)
	}
	for i, r := range res.Ratios {
		f := res.Figures[i+1]
		if r.Learner != names[i] || f.Learner != names[i] || f.AUC != 0.5 || r.TrainCPU != 5/res.Figures[0].Train.CPUSeconds || r.P50 != 7/res.Figures[0].One.P50 {
			t.Errorf("%+v of %+v", r, f)
		}
	}
}

func TestBenchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Bench{Data: Generate(1000, 4), Threads: 2, Rounds: 1, Step: func(string) {}}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was ended", err)
	}
}
