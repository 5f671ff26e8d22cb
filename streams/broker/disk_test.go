package broker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFullDisk takes no records while the disk is nearly full, says so in
// Kafka's words, and goes on when there is space.
func TestFullDisk(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var left atomic.Uint64
	b := &Broker{cluster: c, dir: "/somewhere", free: func(string) (uint64, error) { return left.Load(), nil }}
	b.guardDisk(slog.New(slog.DiscardHandler))
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("a"), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func() error {
		return client.ProduceSync(context.Background(), kgo.StringRecord("x")).FirstErr()
	}
	for _, step := range []struct {
		left uint64
		want error
	}{{reserve, nil}, {reserve - 1, kerr.KafkaStorageError}, {0, kerr.KafkaStorageError}, {reserve, nil}} {
		left.Store(step.left)
		if err := produce(); !errors.Is(err, step.want) {
			t.Errorf("%d bytes left: %v, want %v", step.left, err, step.want)
		}
		if err := b.Err(); (err != nil) != (step.want != nil) || err != nil && !strings.Contains(err.Error(), "/somewhere") {
			t.Errorf("%d bytes left: Err is %v", step.left, err)
		}
	}
}
