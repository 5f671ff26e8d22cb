package collisions

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// interpreter writes a shell script that stands for Python: it gets peers.py and
// its arguments.
func interpreter(t *testing.T, body string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "python")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// open opens peers that are run by the interpreter.
func open(t *testing.T, python string) *Peers {
	t.Helper()
	p, err := OpenPeers(t.Context(), python, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func writeScores(t *testing.T, name string, score ...float64) {
	t.Helper()
	var b []byte
	for _, s := range score {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s))
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenPeersSaysWhatIsMissing(t *testing.T) {
	for want, python := range map[string]string{
		"/none/python: no such file or directory; give --python its path": "/none/python",
		"python -m pip install numpy xgboost, or give --python another":   interpreter(t, `echo numpy xgboost; echo "import numpy: no" >&2; exit 3`),
		"exit status 1: SyntaxError; give --python its path":              interpreter(t, "echo Traceback >&2; echo SyntaxError >&2; exit 1"),
	} {
		_, err := OpenPeers(t.Context(), python, t.TempDir())
		if e := new(PythonError); !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

const printed = `{"version": "1.2", "train": {"seconds": 3, "cpu_s": 5}, "bulk": {"seconds": 1, "cpu_s": 2}, "one": {"calls": 10, "p50_us": 7, "p99_us": 9}}`

func TestFiguresOfAPeer(t *testing.T) {
	d := &Data{Test: make([]Row, 4)}
	d.Test[1].Label, d.Test[3].Label = 1, 1
	p := open(t, interpreter(t, fmt.Sprintf(`[ "$2" = check ] || [ "$2 $4 $5 $6 $OMP_NUM_THREADS" = "xgboost set 3 5000 3" ] || exit 1; echo '%s'`, printed)))
	writeScores(t, p.file("xgboost.f64"), 0.5, 0.25, 0.25, 0.75)
	f, err := p.Figures(t.Context(), "xgboost", "set", d, 3)
	if err != nil {
		t.Fatal(err)
	}
	if f.Learner != "xgboost" || f.Version != "1.2" || *f.Train != (Work{3, 5}) || f.Bulk != (Work{1, 2}) || f.One != (OneRow{10, 7, 9}) {
		t.Errorf("%+v", f)
	}
	// Of the four pairs of a 1 and a 0 two are in order, one is a tie, one is not.
	want := -(math.Log(0.5) + math.Log(0.25) + 2*math.Log(0.75)) / 4
	if f.AUC != 0.625 || math.Abs(f.LogLoss-want) > 1e-15 {
		t.Errorf("AUC %v and log loss %v, want 0.625 and %v", f.AUC, f.LogLoss, want)
	}
}

func TestFiguresOfAPeerThatFails(t *testing.T) {
	d := &Data{Test: make([]Row, 2)}
	for want, fault := range map[string]struct {
		body  string
		score []float64
	}{
		"xgboost: exit status 1: MemoryError":                      {body: `echo MemoryError >&2; exit 1`},
		`xgboost has printed "hello\n"`:                            {body: "echo hello"},
		"which lacks figures":                                      {body: "echo {}"},
		"xgboost.f64 has 8 bytes; 2 predictions have 16":           {body: "echo '" + printed + "'", score: []float64{0}},
		"xgboost.f64: prediction 1 is 1.5, which is no probabilit": {body: "echo '" + printed + "'", score: []float64{0, 1.5}},
		"prediction 0 is NaN":                                      {body: "echo '" + printed + "'", score: []float64{math.NaN(), 1}},
		"no such file":                                             {body: "echo '" + printed + "'"},
	} {
		p := open(t, interpreter(t, `[ "$2" = check ] && exit 0; `+fault.body))
		if fault.score != nil {
			writeScores(t, p.file("xgboost.f64"), fault.score...)
		}
		if _, err := p.Figures(t.Context(), "xgboost", "set", d, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAPeerIsEndedWithItsContext(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, interpreter(t, `[ "$2" = check ] && exit 0; echo > "`+pipe+`"; exec sleep 600`))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Figures(ctx, "xgboost", "set", &Data{}, 1)
		done <- err
	}()
	if _, err := os.ReadFile(pipe); err != nil { // waits for the script to write
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was ended", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var l limited
	for i := range 100_000 {
		fmt.Fprintln(&l, "line", i)
	}
	if len(l.b) < kept || len(l.b) > 2*kept || l.lastLine() != "line 99999" {
		t.Errorf("%d bytes, the last line %q", len(l.b), l.lastLine())
	}
}

func TestBestAndRatio(t *testing.T) {
	ours := best(
		Figures{Train: &Work{1, 10}, Bulk: Work{1, 2}, One: OneRow{5, 4, 9}, AUC: 0.75},
		Figures{Train: &Work{2, 8}, Bulk: Work{2, 3}, One: OneRow{5, 5, 8}, AUC: 0.75},
	)
	if *ours.Train != (Work{2, 8}) || ours.Bulk != (Work{1, 2}) || ours.One != (OneRow{5, 4, 8}) || ours.AUC != 0.75 {
		t.Errorf("%+v", ours)
	}
	got := ratio(ours, Figures{Learner: "a", Train: &Work{1, 16}, Bulk: Work{1, 1}, One: OneRow{5, 40, 4}})
	if want := (Ratio{"a", 2, 0.5, 10, 0.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := ratio(ours, Figures{Bulk: Work{1, 2}, One: OneRow{5, 4, 8}}); got != (Ratio{"", 0, 1, 1, 1}) {
		t.Errorf("without a training: %+v", got)
	}
}
