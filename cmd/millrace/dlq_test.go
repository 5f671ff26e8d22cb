package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

func TestLetterListKeepsTheNewest(t *testing.T) {
	for _, c := range []struct{ letters, limit, want int }{{0, 3, 0}, {2, 3, 2}, {3, 3, 3}, {100, 3, 3}, {100, 1, 1}, {100, 0, 100}} {
		var l letterList
		for i := range c.letters {
			l.keep(streams.DeadLetter{Offset: int64(i), Key: []byte("k"), Value: []byte("v")}, c.limit, c.limit == 0)
		}
		if len(l.Letters) != c.want {
			t.Errorf("%d letters, limit %d: kept %d, want %d", c.letters, c.limit, len(l.Letters), c.want)
		}
		for i, d := range l.Letters {
			if want := int64(c.letters - c.want + i); d.Offset != want {
				t.Errorf("%d letters, limit %d: letter %d is %d, want %d", c.letters, c.limit, i, d.Offset, want)
			}
			if whole := d.Key != nil && d.Value != nil; whole != (c.limit == 0) {
				t.Errorf("%d letters, limit %d: letter %d has the key %q and the value %q", c.letters, c.limit, i, d.Key, d.Value)
			}
		}
	}
}

// TestLettersEndWhenKafkaGoes takes the broker away between two fetches,
// each of which has one letter.
func TestLettersEndWhenKafkaGoes(t *testing.T) {
	const topic = "shop.deadletters"
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := broker.Start(broker.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.Ensure(t.Context(), topic, 1, streams.DeadLetterConfig()); err != nil {
		t.Fatal(err)
	}
	producer := streams.NewProducer(cluster)
	defer producer.Close()
	for offset := range int64(2) {
		r, err := streams.DeadLetter{Topic: "orders", Offset: offset, Reason: "too_late", Value: make([]byte, 2<<20)}.Record()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := producer.Produce(t.Context(), topic, []streams.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	count := func(streams.DeadLetter) { n++ }
	if err := readLetters(t.Context(), cluster, topic, lettersPatience, log, count); err != nil || n != 2 {
		t.Fatalf("%d letters, %v; want 2", n, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- readLetters(t.Context(), cluster, topic, time.Second, log, func(streams.DeadLetter) { b.Close() })
	}()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "Kafka gave no more of topic shop.deadletters for 1s") {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it waits for a Kafka that is gone")
	}
}
