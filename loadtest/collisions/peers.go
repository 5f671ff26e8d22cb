package collisions

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed peers.py
var script []byte

// names are the peers, in an order in which each finds what it needs:
// onnxruntime scores what lightgbm has trained.
var names = []string{"xgboost", "lightgbm", "scikit-learn", "onnxruntime"}

// Peers are other learners of trees, run by Python on the files of a set.
type Peers struct {
	python string // the interpreter
	dir    string // of the script, models and predictions
}

// A PythonError is what a person has to change for the peers to run.
type PythonError struct{ err error }

func (e *PythonError) Error() string { return e.err.Error() }
func (e *PythonError) Unwrap() error { return e.err }

// missing is the script's status where packages are missing.
const missing = 3

// OpenPeers checks that the interpreter has the packages that the peers need. The
// directory takes the script, and what the peers write. What is not there is a
// *PythonError.
func OpenPeers(ctx context.Context, python, dir string) (*Peers, error) {
	path, err := exec.LookPath(python)
	if err != nil {
		return nil, &PythonError{fmt.Errorf("the peers need Python 3: %w; give --python its path", err)}
	}
	p := &Peers{path, dir}
	if err := os.WriteFile(p.file("peers.py"), script, 0o600); err != nil {
		return nil, err
	}
	out, err := p.run(ctx, 1, "check")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == missing {
		return nil, &PythonError{fmt.Errorf("the peers need packages that %s cannot import; install them with %s -m pip install %s, or give --python another", python, python, bytes.TrimSpace(out))}
	}
	if err != nil {
		return nil, &PythonError{fmt.Errorf("the peers need Python 3: %w; give --python its path", err)}
	}
	return p, nil
}

func (p *Peers) file(name string) string { return filepath.Join(p.dir, name) }

// Figures has a peer do the task with a set, whose files are written already.
func (p *Peers) Figures(ctx context.Context, name, prefix string, d *Data, threads int) (Figures, error) {
	f := Figures{Learner: name}
	out, err := p.run(ctx, threads, name, p.dir, prefix, fmt.Sprint(threads), fmt.Sprint(calls))
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("%s has printed %.200q: %w", name, out, err)
	}
	if f.Version == "" || !(f.Bulk.CPUSeconds > 0 && f.One.P50 > 0) {
		return f, fmt.Errorf("%s has printed %.200q, which lacks figures", name, out)
	}
	score, err := readScores(p.file(name+".f64"), len(d.Test))
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	f.AUC, f.LogLoss = d.judge(score)
	return f, nil
}

// patience is for how long one peer may work: it takes a minute with a million
// rows on two cores.
const patience = time.Hour

// run runs the script and returns what it prints. The error has the last line
// that it has written to stderr.
func (p *Peers) run(ctx context.Context, threads int, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.python, append([]string{p.file("peers.py")}, args...)...)
	cmd.WaitDelay = 5 * time.Second
	// Waiting threads would otherwise spin, and count as work.
	cmd.Env = append(os.Environ(), fmt.Sprintf("OMP_NUM_THREADS=%d", threads), "OMP_WAIT_POLICY=PASSIVE")
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if last := errs.lastLine(); err != nil && last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return out.b, err
}

// limited keeps the last bytes that are written to it: kept and, so as not to
// move them with each write, up to as many again.
type limited struct{ b []byte }

const kept = 64 << 10

func (l *limited) Write(b []byte) (int, error) {
	l.b = append(l.b, b...)
	if len(l.b) > 2*kept {
		l.b = append(l.b[:0], l.b[len(l.b)-kept:]...)
	}
	return len(b), nil
}

func (l *limited) lastLine() string {
	text := strings.TrimSpace(string(l.b))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// readScores reads n predictions, little-endian doubles.
func readScores(name string, n int) ([]float64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(b) != 8*n {
		return nil, fmt.Errorf("%s has %d bytes; %d predictions have %d", name, len(b), n, 8*n)
	}
	score := make([]float64, n)
	for i := range score {
		p := math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		if !(p >= 0 && p <= 1) {
			return nil, fmt.Errorf("%s: prediction %d is %v, which is no probability", name, i, p)
		}
		score[i] = p
	}
	return score, nil
}
