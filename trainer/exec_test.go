package trainer

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/external"
)

// stump is a model of LightGBM: a log-odds of -1 where shop.x is at most 0, else 1.
const stump = `tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=shop.x shop.y
feature_infos=[-5:5] [-5:5]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=0
decision_type=2
left_child=-1
right_child=-2
leaf_value=-1 1
leaf_weight=1 1
leaf_count=100 100
internal_value=0
internal_weight=2
internal_count=200
is_linear=0
shrinkage=1


end of trees
`

// copies leaves that model, and takes the arguments --data D --params P --out O.
const copies = "cp \"$(dirname \"$0\")/model.txt\" \"$6/\"\necho learned\n"

// execRig has a model of two numbers that a shell script learns.
func execRig(t *testing.T, script string, args ...string) *rig {
	t.Helper()
	m := testModel()
	m.Inputs = m.Inputs[:2]
	m.Gate.Slices = nil
	r := newRig(t, m, 1)
	r.put("train.sh", script)
	r.put("model.txt", stump)
	r.model.Learners = []Learner{{Exec: &external.Command{Args: append([]string{"sh", "train.sh"}, args...), Dir: r.dir}}}
	return r
}

func (r *rig) put(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// learn replays a world of two numbers to the loop.
func (r *rig) learn(hours int) {
	r.t.Helper()
	full := testModel()
	full.Inputs = full.Inputs[:2]
	w := newWorld(r.t, &full, 71, 1, hours, two)
	r.write(w, w.hours)
	r.step(r.loop())
}

// TestExecIsACandidateAsOthers wants a program's model judged, opened and scored as
// the program would, and trained again to the byte.
func TestExecIsACandidateAsOthers(t *testing.T) {
	r := execRig(t, copies+`echo '{"auc": 0.75}' > "$6/metrics.json"`+"\n")
	r.learn(300)
	versions, runs := r.versions(), r.runs()
	if len(versions) < 2 || versions[0].Verdict != "promote" {
		t.Fatalf("%+v, %+v", versions, runs)
	}
	b, err := bundle.Open(r.config().Bundles, versions[0].Bundle, []ed25519.PublicKey{key().Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	if m := b.Manifest(); m.Learner != "exec" || m.Weights != bundle.LightGBM || !strings.Contains(string(m.Metrics), `"program":{"auc":0.75}`) {
		t.Errorf("%+v", m)
	}
	for _, x := range []float64{-2, 0, 1e-9, 3} {
		want := 1 / (1 + math.Exp(1))
		if x > 0 {
			want = 1 - want
		}
		if got, err := b.Score(numbers(x, 5)); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%v scores %v, want %v: %v", x, got, want, err)
		}
	}
	c := r.config()
	again, err := Reproduce(t.Context(), &c, &r.model, &runs[0], t.TempDir())
	if err != nil || !again.Identical {
		t.Errorf("%+v, %v", again, err)
	}
	r.put("train.sh", copies+"# changed\n")
	if _, err := Reproduce(t.Context(), &c, &r.model, &runs[0], t.TempDir()); err == nil || !strings.Contains(err.Error(), "use those of then") {
		t.Errorf("with another program: %v", err)
	}
	r.model.Learners = twoLearners().Learners
	if _, err := Reproduce(t.Context(), &c, &r.model, &runs[0], t.TempDir()); err == nil || !strings.Contains(err.Error(), "use the project file of then") {
		t.Errorf("without a program: %v", err)
	}
}

// TestExecFails wants a failed run that says why, and no version.
func TestExecFails(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"exit":          {"echo no such column >&2\nexit 3\n", "no such column"},
		"nothing":       {"echo done\n", "it left no model"},
		"rubbish":       {"echo rubbish > \"$6/model.txt\"\n", "not a model of LightGBM"},
		"truncated":     {"head -c 300 \"$(dirname \"$0\")/model.txt\" > \"$6/model.txt\"\n", "the model of another program"},
		"other order":   {"sed 's/^feature_names=.*/feature_names=shop.y shop.x/' \"$(dirname \"$0\")/model.txt\" > \"$6/model.txt\"\n", "its features are shop.y, shop.x, in this order"},
		"more features": {"sed 's/^feature_names=.*/feature_names=a b c/; s/^max_feature_idx=1/max_feature_idx=2/; s/^feature_infos=.*/feature_infos=[0:1] [0:1] [0:1]/' \"$(dirname \"$0\")/model.txt\" > \"$6/model.txt\"\n", "it has 3 features, and the model 2"},
		"no program":    {"", "install it, or correct exec"},
		"huge report":   {copies + "{ printf '{\"a\": \"'; head -c 1000000 /dev/zero | tr '\\000' '<'; printf '\"}'; } > \"$6/metrics.json\"\n", "metrics.json"},
		"other scores":  {copies + "echo '[0.123]' > \"$6/predictions.json\"\n", "0.123 in the program"},
	} {
		t.Run(name, func(t *testing.T) {
			r := execRig(t, c.script)
			if c.script == "" {
				r.model.Learners[0].Exec.Args = []string{"./none.sh"}
			}
			r.learn(100)
			runs := r.runs()
			if len(runs) != 1 || runs[0].Status != registry.Failed || !strings.Contains(runs[0].Error, c.want) || len(r.versions()) != 0 {
				t.Errorf("%+v, want %q", runs, c.want)
			}
		})
	}
}

// TestNoRoomForTheProgram has a full disk, or what is like it, where a program should
// learn: that is no failed run, other learners have theirs all the same, and it is
// tried again.
func TestNoRoomForTheProgram(t *testing.T) {
	r := execRig(t, copies)
	r.model.Learners = append(r.model.Learners, twoLearners().Learners[0])
	full := filepath.Join(r.dir, "full")
	r.put("full", "a file where a folder should be")
	t.Setenv("TMPDIR", full)
	m := testModel()
	m.Inputs = m.Inputs[:2]
	r.write(newWorld(t, &m, 71, 1, 100, two), 100)
	l := r.loop()
	for range 2 {
		if err := l.Step(t.Context()); err == nil || !strings.Contains(err.Error(), full) {
			t.Fatal(err)
		}
	}
	if s := r.specs(); len(s) != 1 || s[0].Learner != "ftrl" {
		t.Fatalf("%+v", s)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	r.step(l)
	if s, runs := r.specs(), r.runs(); len(s) != 2 || s[1].Learner != "exec" || s[1].Known != s[0].Known || runs[1].Status != registry.Trained {
		t.Fatalf("%+v", runs)
	}
}

// TestOutagesOfTheSystem wants what passes to be told from what does not.
func TestOutagesOfTheSystem(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOSPC} {
		if wrapped := fmt.Errorf("external: %w", os.NewSyscallError("pipe2", err)); !aboutFiles(wrapped) {
			t.Errorf("%v is a failed run", wrapped)
		}
	}
}

// two is a world of two numbers, of which the first tells the label.
func two(r *rand.Rand, hour int) ([]features.Value, float64) {
	x, label := planted(r, hour)
	return x[:2], label
}

func numbers(values ...float64) []features.Value {
	var x []features.Value
	for _, v := range values {
		x = append(x, expr.FloatValue(v))
	}
	return x
}
