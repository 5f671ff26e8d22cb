package streams

import (
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

func TestConnectRefuses(t *testing.T) {
	for want, addresses := range map[string][]string{
		"no broker address":             nil,
		`"localhost" is not host:port`:  {"127.0.0.1:9092", "localhost"},
		`"" is not host:port`:           {""},
		`"http://a:1" is not host:port`: {"http://a:1"},
	} {
		if _, err := Connect(Options{Addresses: addresses}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Connect(%q): %v, want %q in it", addresses, err, want)
		}
	}
}

func TestEnsure(t *testing.T) {
	c := connect(t, startMemory(t))
	ctx := testContext(t)
	a, b := unique(t, "a"), unique(t, "b")
	for range 2 { // the second time it is there
		if err := c.Ensure(ctx, a, 3, map[string]string{"max.message.bytes": "2000", "retention.ms": "-1"}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.Partitions(ctx, a); n != 3 || err != nil {
		t.Errorf("Partitions: %d, %v; want 3", n, err)
	}
	if n, err := c.maxMessage(ctx, a); n != 2000 || err != nil {
		t.Errorf("maxMessage: %d, %v; want 2000", n, err)
	}
	if err := c.Ensure(ctx, a, 4, nil); err == nil || !strings.Contains(err.Error(), "has 3 partitions, not 4") {
		t.Errorf("another number of partitions: %v", err)
	}
	if err := c.Ensure(ctx, "a b", 1, nil); err == nil || !strings.Contains(err.Error(), kafka.InvalidTopic.Title()) {
		t.Errorf("a bad name: %v, want %q in it", err, kafka.InvalidTopic.Title())
	}
	done := make(chan error, 8)
	for range cap(done) { // several processes may start at once
		go func() { done <- c.Ensure(ctx, b, 2, nil) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
