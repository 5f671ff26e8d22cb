package pipeline_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/streams/pipeline"
)

// TestLagBehindTransactions has a log end with the mark of a transaction, which is
// no record: nothing is left to do, and the lag says so.
func TestLagBehindTransactions(t *testing.T) {
	r := newRig(t)
	p, records := world(t, 1, "key", 1)
	r.ensure(p)
	k, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.TransactionalID("lag"), kgo.DefaultProduceTopic(p.Source.Topic))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, rec := range records[:5] {
		if err := k.ProduceSync(t.Context(), &kgo.Record{Key: rec.Key, Value: rec.Value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	h := r.host(p)
	defer r.run(h)()
	r.eventually("all records to be applied, and no lag", func() bool {
		for _, s := range h.Status() {
			if s.Phase == pipeline.Running && s.Progress.Next == 5 && s.Lag() == 0 {
				return true
			}
		}
		return false
	})
}
