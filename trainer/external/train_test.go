package external

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
)

// fake is a Command of a program of fake_test.go.
func fake(args ...string) Command {
	l := ordinary
	l.grace, l.look = 10*time.Millisecond, time.Millisecond
	return Command{
		Args: append([]string{os.Args[0], "fake"}, args...), Task: learn.Binary, Timeout: 2 * time.Minute, Env: []string{"GORACE"},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), limits: l,
	}
}

// small is a data set of three rows.
func small() *Dataset {
	rows := []Row{
		{Values: []features.Value{expr.FloatValue(1), expr.StringValue("a")}, Weight: 1, Time: 1e6, Known: 2e6},
		{Values: []features.Value{{}, {}}, Label: 1, Weight: 1, Time: 2e6, Known: 3e6},
		{Values: []features.Value{expr.FloatValue(3), expr.StringValue("")}, Weight: 1, Time: 3e6, Known: 4e6},
	}
	return &Dataset{Columns: []Column{{"v.x", expr.Float}, {"v.s", expr.String}}, Rows: slices.Values(rows)}
}

// lines is a log that calls f with each line that a program prints.
func lines(f func(line string)) *slog.Logger {
	return slog.New(lineHandler{slog.NewTextHandler(io.Discard, nil), f})
}

type lineHandler struct {
	slog.Handler
	f func(string)
}

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	h.f(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		h.f(a.Value.String())
		return true
	})
	return nil
}

// TestProgramIsGiven holds what the contract promises a program.
func TestProgramIsGiven(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hunter2")
	t.Setenv("MLFLOW_TRACKING_URI", "http://here")
	t.Setenv("OMP_NUM_THREADS", "2")
	project, temp := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "train.py"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := fake("tell", "train.py", "absent.py", "-v")
	c.Dir, c.Env, c.Parameters = project, []string{"GORACE", "MLFLOW_TRACKING_URI", "NOT_SET"}, json.RawMessage(`{"depth": 6}`)
	got, err := c.Train(t.Context(), temp, small())
	if err != nil {
		t.Fatal(err)
	}
	if got.Format != XGBoost || string(got.Model) != `{"learner": {"depth": 6}}` {
		t.Errorf("a model of %s: %s", got.Format, got.Model)
	}
	var told struct {
		Args, Env []string
		Stdin, Wd string
	}
	if err := json.Unmarshal(got.Report, &told); err != nil {
		t.Fatal(err)
	}
	w := &workspace{told.Wd}
	if filepath.Dir(w.dir) != temp || told.Stdin != "" {
		t.Errorf("it ran in %s, not in a folder of its own in %s; its input was %q", w.dir, temp, told.Stdin)
	}
	want := []string{os.Args[0], "fake", "tell", filepath.Join(project, "train.py"), "absent.py", "-v", "--data", w.data(), "--params", w.params(), "--out", w.out()}
	if !slices.Equal(told.Args, want) {
		t.Errorf("arguments %q, want %q", told.Args, want)
	}
	env := strings.Join(told.Env, "\n")
	for _, want := range []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home(), "TMPDIR=" + w.temp(), "MILLRACE_TASK=binary", "OMP_NUM_THREADS=2",
		"MILLRACE_DATA=" + w.data(), "MILLRACE_PARAMS=" + w.params(), "MILLRACE_OUT=" + w.out(), "MLFLOW_TRACKING_URI=http://here",
	} {
		if !slices.Contains(told.Env, want) {
			t.Errorf("the environment has no %s:\n%s", want, env)
		}
	}
	if strings.Contains(env, "hunter2") {
		t.Errorf("the environment has a variable that is not on the list:\n%s", env)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// TestFormats takes each kind of model.
func TestFormats(t *testing.T) {
	for name, want := range map[string]Output{
		"good":     {Format: XGBoost, Model: []byte(goodXGBoost)},
		"lightgbm": {Format: LightGBM, Model: []byte(goodLightGBM)},
		"onnx":     {Format: ONNX, Model: []byte("\x08\x08")},
		"report":   {Format: XGBoost, Model: []byte(goodXGBoost), Report: json.RawMessage(`{"auc":0.5}`), Predictions: []float64{0.25, 1}},
		"locked":   {Format: XGBoost, Model: []byte(goodXGBoost)},
	} {
		temp := t.TempDir()
		got, err := fake(name).Train(t.Context(), temp, small())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Format != want.Format || !bytes.Equal(got.Model, want.Model) || string(got.Report) != string(want.Report) || !slices.Equal(got.Predictions, want.Predictions) || got.Log != "" {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}

// TestBadPrograms holds that each says what to do, leaves nothing and changes
// nothing elsewhere.
func TestBadPrograms(t *testing.T) {
	outside := t.TempDir()
	for name, want := range map[string]string{
		"fail":      "it failed with exit status 3; the last that it printed:\n\tline 91\n",
		"hang":      "it ran for longer than its timeout of 200ms and was ended: give it more time (timeout)",
		"stubborn":  "it ran for longer than its timeout of 200ms",
		"scribble":  "in its folder, where 8192.0 MiB are allowed",
		"litter":    "it wrote more than 500 files",
		"quick":     "it wrote 1.0 MiB in its folder, where 0.5 MiB are allowed",
		"nothing":   "it left no model: its output folder is empty; write one of model.onnx (an ONNX file), model.json",
		"pickle":    `it left no model: its output folder has ["model.`,
		"two":       "it left two models, model.json and model.txt: leave one",
		"large":     "model.onnx has 0.0 MiB, the most is 0.0 MiB",
		"empty":     "model.onnx is empty",
		"nojson":    "model.json is not JSON (unexpected end of JSON input): save the model with save_model(",
		"dump":      "model.json is not a model of XGBoost: it has no key",
		"pickled":   "model.txt is not a model of LightGBM: its first line is not",
		"link":      "model.txt is not a regular file (L---------): write the file itself",
		"folder":    "model.onnx is not a regular file (d---------)",
		"pipe":      "model.onnx is not a regular file (p---------)",
		"elsewhere": "its output folder is gone, or is no folder any more",
		"badreport": "metrics.json is not a JSON object (NaN is none of JSON's numbers)",
		"null":      "predictions.json: prediction 2 is null",
		"many":      "predictions.json has 5 predictions: give those of the first rows of the data set, 1 to 3",
		"words":     "predictions.json is not a JSON array of numbers",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			c := fake(name, outside)
			switch name {
			case "hang", "stubborn":
				c.Timeout = 200 * time.Millisecond
			case "litter":
				c.limits.files = 500
			case "quick":
				c.limits.scratch = 1 << 19
				c.limits.look = time.Hour
			case "large":
				c.limits.model = 1000
			}
			_, err := c.Train(t.Context(), temp, small())
			var fault *ProgramError
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want a ProgramError with %q", err, want)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

// TestNoProgram starts what is not there, and what cannot be started.
func TestNoProgram(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "train.py"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"no-such-program-here"}, {"./absent.py"}, {"./train.py"}} {
		c := Command{Args: args, Dir: dir}
		if _, err := c.Train(t.Context(), t.TempDir(), small()); err == nil || !strings.Contains(err.Error(), "it cannot be started") {
			t.Errorf("%q: the error is %v", args, err)
		}
	}
}

// TestCancelled ends a program that does what it is asked, and one that does not.
func TestCancelled(t *testing.T) {
	for _, name := range []string{"polite", "stubborn"} {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var all []string
		c := fake(name)
		if name == "polite" {
			c.limits.grace = time.Minute // it does not take it
		}
		c.Log = lines(func(line string) {
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, line); line == "ready" {
				cancel()
			}
		})
		_, err := c.Train(ctx, t.TempDir(), small())
		var fault *ProgramError
		if !errors.Is(err, context.Canceled) || errors.As(err, &fault) {
			t.Errorf("%s: the error is %v", name, err)
		}
		if asked := slices.Contains(all, "asked to end"); asked != (name == "polite") {
			t.Errorf("%s: the program printed %q", name, all)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fake("hang").Train(ctx, t.TempDir(), small()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began, the error is %v", err)
	}
}

// TestChatty holds that of what a program prints the end is kept, and the
// beginning logged.
func TestChatty(t *testing.T) {
	var all []string
	c := fake("chatty")
	c.Log = lines(func(line string) { all = append(all, line) })
	got, err := c.Train(t.Context(), t.TempDir(), small())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Log) > keptBytes || len(got.Log) < keptBytes-20 || !strings.HasSuffix(got.Log, "\nline 19999") || !strings.HasPrefix(got.Log, "line ") {
		t.Errorf("%d bytes are kept: %.30q ... %q", len(got.Log), got.Log, got.Log[max(0, len(got.Log)-30):])
	}
	logged := 0
	for _, line := range all {
		if strings.HasPrefix(line, "line ") {
			logged++
		}
	}
	if logged != loggedLines || !slices.Contains(all, "further lines of the learner are not logged") {
		t.Errorf("%d lines are logged, want %d and a word about the others", logged, loggedLines)
	}
}

// TestGarbage prints what is no text.
func TestGarbage(t *testing.T) {
	var all []string
	c := fake("garbage")
	c.Log = lines(func(line string) { all = append(all, line) })
	got, err := c.Train(t.Context(), t.TempDir(), small())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"learner", "[31mred..", "learner", "50%", "learner", "100%", "learner", "end"}; !slices.Equal(all, want) {
		t.Errorf("logged are %q, want %q", all, want)
	}
	if want := "[31mred..\n50%\n100%\n\nend"; got.Log != want {
		t.Errorf("kept is %q, want %q", got.Log, want)
	}
}

// TestLeftovers holds that folders of runs that were killed go, and no others.
func TestLeftovers(t *testing.T) {
	temp := t.TempDir()
	old := time.Now().Add(-MaxTimeout - 2*time.Hour)
	for _, name := range []string{folderPrefix + "old", folderPrefix + "young", "somebody-elses"} {
		path := filepath.Join(temp, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "young") {
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := fake("good").Train(t.Context(), temp, small()); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, _ := os.ReadDir(temp)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{folderPrefix + "young", "somebody-elses"}; !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
}
