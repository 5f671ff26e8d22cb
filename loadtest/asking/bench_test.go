package asking

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/bundle"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *World {
	dir := t.TempDir()
	p, err := Project(dir)
	must(t, err)
	w := &World{Project: p, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	b, err := broker.Start(broker.Options{Dir: filepath.Join(dir, "broker"), Log: w.Log})
	must(t, err)
	t.Cleanup(func() { b.Close() })
	w.Cluster, err = streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	must(t, err)
	t.Cleanup(w.Cluster.Close)
	w.Producer = streams.NewProducer(w.Cluster)
	t.Cleanup(w.Producer.Close)
	store, err := pebble.Open(filepath.Join(dir, "store"))
	must(t, err)
	t.Cleanup(func() { store.Close() })
	w.Store = store
	w.Registry, err = registry.Open(p.RegistryFile())
	must(t, err)
	t.Cleanup(func() { w.Registry.Close() })
	must(t, w.Cluster.Ensure(t.Context(), p.Sources[0].Topic, p.Sources[0].Partitions, nil))
	return w
}

// serve serves the world until the test ends, and returns the address.
func (w *World) serve(t *testing.T) string {
	p, m := w.Project, w.Project.Model(model)
	_, err := pipeline.EnsureFeedback(t.Context(), w.Cluster, p.Name, nil)
	must(t, err)
	c := serve.Config{Project: p.Name, Sources: p.Sources, Plans: p.Plans, Store: w.Store, Producer: w.Producer, Log: w.Log}
	c.Models, err = serve.NewModels(w.Registry, p.ModelsDir(), w.trusted,
		[]serve.ModelConfig{{Name: m.Name, Task: m.Task, Inputs: m.Inputs, Entity: m.Entity, Labeler: m.Labeler}}, w.Log)
	must(t, err)
	must(t, c.Models.Refresh(t.Context()))
	c.Spool, err = serve.OpenSpool(p.SpoolDir(), serve.DefaultSpool, w.Log)
	must(t, err)
	t.Cleanup(func() { c.Spool.Close() })
	s, err := serve.New(c)
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() { stop(); must(t, <-ended) })
	return ln.Addr().String()
}

func (w *World) trusted() ([]ed25519.PublicKey, error) {
	keys, err := bundle.ReadKeys(w.Project.KeysDir())
	if err != nil {
		return nil, err
	}
	return keys.Trusted(), nil
}

// TestAnswersAreInTheLog asks a real server. Each answer is in the log with the
// vector that was seen, which the bundle scores as the log says.
func TestAnswersAreInTheLog(t *testing.T) {
	w := newWorld(t)
	w.Project.Model(model).Learners[0].GBDT.Trees = 10 // quick to grow
	symbols, err := w.Fill(t.Context(), 5000)
	must(t, err)
	g, err := w.Champion(t.Context(), symbols)
	must(t, err)
	if g.Features != 28 || g.Trees != 10 || g.Leaves < 10*20 || g.Rows != rowsEach*len(symbols) {
		t.Errorf("grown: %+v", g)
	}
	var steps []string
	b := Bench{
		Address: w.serve(t), Entities: symbols, Rate: 100, Duration: 200 * time.Millisecond,
		Ask: func(ctx context.Context, l *Load) (*Answers, error) { return l.Run(ctx) }, Step: func(s string) { steps = append(steps, s) },
	}
	figures, answered, err := b.Run(t.Context())
	must(t, err)
	sum := int64(0)
	for _, f := range figures {
		sum += int64(f.Answered)
		if f.Errors != 0 || f.Answered != f.Asked || f.Load == "open" && f.Asked != 20 || f.CPUMillis <= 0 {
			t.Errorf("%+v", f)
		}
	}
	logged, err := Logged(t.Context(), w.Cluster, w.Project.Name)
	must(t, err)
	if logged != answered || answered <= sum || len(steps) < 2+len(figures) {
		t.Errorf("%d answered, %d of them measured, %d logged; %q", answered, sum, logged, steps)
	}
	w.checkLogged(t, symbols)
}

// checkLogged scores what a partition of the log says was seen.
func (w *World) checkLogged(t *testing.T, symbols []string) {
	t.Helper()
	v, err := w.Registry.Version(t.Context(), model, 1)
	must(t, err)
	keys, err := w.trusted()
	must(t, err)
	opened, err := bundle.Open(w.Project.ModelsDir(), v.Bundle, keys)
	must(t, err)
	r := w.Cluster.Reader(feedback.Topic(w.Project.Name), 0, 0)
	defer r.Close()
	batch, err := r.Fetch(t.Context())
	must(t, err)
	seen := 0
	for _, x := range batch.Records {
		rec, err := feedback.Decode(x.Value)
		must(t, err)
		p := rec.Prediction
		score, err := opened.Score(p.Vector)
		must(t, err)
		if _, ok := slices.BinarySearch(symbols, p.Entity[0].Expr); !ok || score != p.Score.Value || p.Score.Bundle != v.Bundle || len(p.Vector) != 28 {
			t.Fatalf("score %v: %+v", score, p)
		}
		for _, x := range p.Vector {
			if n, ok := x.Number(); ok && n > 0 {
				seen++
			}
		}
	}
	if seen < 7*len(batch.Records) { // a day's figures at least, of which the deviation may be missing
		t.Errorf("%d values above 0 in %d predictions", seen, len(batch.Records))
	}
}
