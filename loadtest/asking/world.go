package asking

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/trades"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// A World is the open engines of the project.
type World struct {
	Project  *project.Project
	Cluster  *streams.Cluster
	Producer *streams.Producer
	Store    online.Store
	Registry *registry.Registry
	Log      *slog.Logger
}

// Fill writes so many trades to their topic, has the pipeline apply them, and
// returns the symbols that there are rows of.
func (w *World) Fill(ctx context.Context, events int) ([]string, error) {
	const chunk = 20_000
	g, traded := trades.NewGenerator(1), map[string]bool{}
	for n := 0; n < events; n += chunk {
		records := make([]streams.Record, min(chunk, events-n))
		for i := range records {
			t := g.Next()
			records[i] = streams.Record{Key: t.AppendKey(nil), Value: t.AppendJSON(nil), Partition: -1}
			traded[string(records[i].Key)] = true
		}
		if _, err := w.Producer.Produce(ctx, w.Project.Sources[0].Topic, records); err != nil {
			return nil, err
		}
	}
	if err := w.apply(ctx, int64(events)); err != nil {
		return nil, err
	}
	symbols := make([]string, 0, len(traded))
	for s := range traded {
		symbols = append(symbols, s)
	}
	slices.Sort(symbols)
	return symbols, nil
}

// apply runs the pipeline until so many records are committed.
func (w *World) apply(ctx context.Context, events int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	next, total := map[int]int64{}, int64(0)
	all := make(chan struct{})
	c := engines.Config(w.Project, engines.Views)
	c.Cluster, c.Producer, c.Store, c.Log = w.Cluster, w.Producer, w.Store, w.Log
	c.OnCommit = func(_ string, partition int, p online.Progress) {
		mu.Lock()
		defer mu.Unlock()
		before := total
		total += p.Next - next[partition]
		next[partition] = p.Next
		if before < events && total >= events {
			close(all)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- pipeline.New(c).Run(ctx) }()
	select {
	case <-all:
	case err := <-ended:
		return cmp.Or(err, context.Cause(ctx), errors.New("the pipeline has ended"))
	}
	cancel()
	return <-ended
}
