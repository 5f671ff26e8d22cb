package trainer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
)

// TestCutInTheMiddle ends the trainer while a program learns: no run is noted, no
// file is left, nothing is wrong, and the next trainer has it learn again.
func TestCutInTheMiddle(t *testing.T) {
	r := execRig(t, "touch \"$(dirname \"$0\")/began\"\nsleep 600\n")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	m := testModel()
	m.Inputs = m.Inputs[:2]
	r.write(newWorld(t, &m, 71, 1, 100, two), 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	l := r.loop()
	go func() { done <- l.Step(ctx) }()
	for {
		if _, err := os.Stat(filepath.Join(r.dir, "began")); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	if len(r.runs()) != 0 || len(l.Problems()) != 0 {
		t.Errorf("%+v %q", r.runs(), l.Problems())
	}
	r.put("train.sh", copies)
	r.step(l)
	if runs := r.runs(); len(runs) != 1 || runs[0].Status != registry.Trained {
		t.Errorf("%+v", runs)
	}
}
