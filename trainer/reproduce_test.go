package trainer

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// TestReproduceIsByteIdentical trains each run of a world again, while the topic
// and the project file have gone on.
func TestReproduceIsByteIdentical(t *testing.T) {
	m := testModel()
	m.Learners[0].FTRL.Epochs = 2
	r := newRig(t, m, 3)
	w := newWorld(t, &m, 41, 3, 350, planted)
	r.replay(w, r.loop(), 7)
	c := r.config()
	now := m
	now.Train, now.Learners = Schedule{Every: 5, Window: 10}.WithDefaults(), []Learner{Learner{FTRL: &ftrl.Params{Alpha: 0.5}}.WithDefaults()}
	for _, run := range r.runs() {
		dir := t.TempDir()
		got, err := Reproduce(t.Context(), &c, &now, &run, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got.Bundle != run.Bundle || !got.Identical || got.Code != "v1" || got.CodeNow != "v1" || len(got.Differs) != 0 {
			t.Errorf("run %d: %+v", run.ID, got)
		}
		same(t, filepath.Join(dir, run.Bundle), filepath.Join(c.Bundles, run.Bundle))
	}
	if len(r.runs()) < 4 {
		t.Errorf("%d runs", len(r.runs()))
	}
}

// TestReproduceReadsOnPastCopies has more copies between the examples than one
// read returns, as a join leaves them that was killed again and again.
func TestReproduceReadsOnPastCopies(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 47, 1, 150, planted)
	r.write(w, 20)
	last := w.records[0][r.sent[0]-1].AppendJSON(nil)
	copies := slices.Repeat([]streams.Record{{Value: last}}, 10_000)
	if _, err := r.producer.Produce(t.Context(), feedback.ExamplesTopic(project), copies); err != nil {
		t.Fatal(err)
	}
	r.write(w, w.hours)
	r.step(r.loop())
	run, c := r.runs()[0], r.config()
	if got, err := Reproduce(t.Context(), &c, &m, &run, t.TempDir()); err != nil || !got.Identical {
		t.Errorf("%+v, %v", got, err)
	}
}

// same compares all files of two folders.
func same(t *testing.T, a, b string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		one, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		other, err := os.ReadFile(filepath.Join(b, d.Name()))
		if err == nil && !bytes.Equal(one, other) {
			t.Errorf("%s differs", d.Name())
		}
		return err
	})
	if err != nil || files < 5 {
		t.Error(err, files)
	}
}

// TestReproduceSaysWhatIsWrong refuses what can give no answer, and names what
// differs.
func TestReproduceSaysWhatIsWrong(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 42, 2, 150, planted)
	r.write(w, w.hours)
	r.step(r.loop())
	run, c := r.runs()[0], r.config()
	refused := func(m Model, run registry.Run, want string) {
		t.Helper()
		if got, err := Reproduce(t.Context(), &c, &m, &run, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", got, err, want)
		}
	}
	refused(m, registry.Run{ID: 3, Status: registry.Stopped}, "run 3 was stopped and made no bundle")
	other := m
	other.Inputs = slices.Clone(m.Inputs)
	other.Inputs[0].Fingerprint = "changed"
	refused(other, run, "use the project file of then")

	// Another program that learns otherwise.
	changed := run
	changed.Spec = bytes.Replace(run.Spec, []byte(`"alpha":0.12`), []byte(`"alpha":0.13`), 1)
	c.Code = "v2"
	got, err := Reproduce(t.Context(), &c, &m, &changed, t.TempDir())
	if err != nil || got.Identical || got.Code != "v1" || got.CodeNow != "v2" || !slices.Contains(got.Differs, "manifest.json") || len(got.Differs) < 2 {
		t.Errorf("%+v, %v", got, err)
	}

	r.deleteBefore(1, 5)
	refused(m, run, "the topic has lost records or was made anew")
	r.remake(2)
	refused(m, run, "the topic has lost records or was made anew")
	r.write(newWorld(t, &m, 43, 2, 20, planted), 20)
	refused(m, run, "the topic has lost records or was made anew")
	r.remake(1)
	refused(m, run, "has 1 partitions, and had 2")
	r.remake(2)
	r.write(newWorld(t, &m, 44, 2, 150, noise), 150)
	refused(m, run, "it has lost some or is another topic of that name")
}

// TestProgressiveValidation compares it with its definition: score with what had
// been learned from the labels that were known.
func TestProgressiveValidation(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		m := testModel()
		m.Task = task
		w := newWorld(t, &m, 45, 2, 40, planted)
		b := newBook(&m, 2)
		feed(b, w, rand.New(rand.NewPCG(1, 5)), func() {})
		rows := b.newest()
		s, err := specOf(&Config{Project: project}, &m, &m.Learners[0], nil, b.known)
		if err != nil {
			t.Fatal(err)
		}
		c, got, err := fit(t.Context(), &Config{Project: project}, &m, &m.Learners[0], s, rows, summarise(&m, rows))
		if err != nil {
			t.Fatal(err)
		}
		var x learn.Row
		var loss, base float64
		for _, asked := range rows {
			model := ftrl.New(task, c.Transform.Dense(), *m.Learners[0].FTRL)
			var known tally
			for _, r := range rows {
				if r.known <= asked.Time && r.Time < asked.Time {
					c.Transform.Row(&x, r.Vector)
					model.Learn(x, r.label, 1)
					known.add(r.label)
				}
			}
			c.Transform.Row(&x, asked.Vector)
			loss += lossOf(task, asked.label, model.Predict(x))
			base += lossOf(task, asked.label, known.share(task == learn.Binary))
		}
		n := float64(len(rows))
		if near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }; !near(float64(*got.Progressive), loss/n) || !near(float64(*got.BaseRate), base/n) || got.Examples != len(rows) || n < 200 {
			t.Errorf("%s: %+v, want %v and %v", task, got, loss/n, base/n)
		}
	}
}

// TestEveryEpochLearnsAllRows compares what was learned with its definition.
func TestEveryEpochLearnsAllRows(t *testing.T) {
	m := testModel()
	m.Learners[0].FTRL.Epochs = 3
	w := newWorld(t, &m, 46, 1, 40, planted)
	b := newBook(&m, 1)
	feed(b, w, rand.New(rand.NewPCG(1, 8)), func() {})
	rows := b.newest()
	s, err := specOf(&Config{Project: project}, &m, &m.Learners[0], nil, b.known)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := fit(t.Context(), &Config{Project: project}, &m, &m.Learners[0], s, rows, summarise(&m, rows))
	if err != nil {
		t.Fatal(err)
	}
	want := ftrl.New(m.Task, c.Transform.Dense(), *m.Learners[0].FTRL)
	var x learn.Row
	for range m.Learners[0].FTRL.Epochs {
		for _, r := range rows {
			c.Transform.Row(&x, r.Vector)
			want.Learn(x, r.label, 1)
		}
	}
	for _, r := range rows {
		if c.Transform.Row(&x, r.Vector); c.Model.Predict(x) != want.Predict(x) {
			t.Fatalf("%s is %v, want %v", r.ID, c.Model.Predict(x), want.Predict(x))
		}
	}
}
