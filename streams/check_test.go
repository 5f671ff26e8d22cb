package streams

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestCheckSource makes topics with settings of each kind.
func TestCheckSource(t *testing.T) { checkSources(t, connect(t, startMemory(t)), unique(t, "check")) }

// checkSources makes topics that begin with prefix.
func checkSources(t *testing.T, c *Cluster, prefix string) {
	ctx := testContext(t)
	for name, want := range map[string]struct {
		config  map[string]string
		warning string
		err     string
	}{
		"usual":   {nil, "", ""},
		"forever": {map[string]string{"retention.ms": "-1"}, "", ""},
		"arrival": {map[string]string{"message.timestamp.type": "LogAppendTime"}, "", ""},
		"compact": {map[string]string{"cleanup.policy": "compact"}, "", "--alter --entity-type topics --entity-name TOPIC --add-config cleanup.policy=delete"},
		"both":    {map[string]string{"cleanup.policy": "compact,delete"}, "", "cleanup.policy is compact,delete, and compaction removes"},
		"minutes": {map[string]string{"retention.ms": "600000"}, "", "retention.ms is 10m0s, and what the store loses"},
		"hours":   {map[string]string{"retention.ms": "36000000"}, "retention.ms is 10h0m0s: events that come in", ""},
		"size":    {map[string]string{"retention.bytes": "1000000"}, "retention.bytes is 1000000: events leave", ""},
		"large":   {map[string]string{"max.message.bytes": "20000000"}, "max.message.bytes is 20000000: an event of over", ""},
	} {
		topic := prefix + name
		if err := c.Ensure(ctx, topic, 1, want.config); err != nil {
			t.Fatal(err)
		}
		warnings, err := c.CheckSource(ctx, topic)
		if got := strings.Join(warnings, "\n"); !strings.Contains(got, want.warning) || want.warning == "" && got != "" {
			t.Errorf("%s: warnings %q, want %q", name, got, want.warning)
		}
		wanted := strings.ReplaceAll(want.err, "TOPIC", topic)
		if (err != nil) != (wanted != "") || err != nil && (!errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), wanted)) {
			t.Errorf("%s: %v, want %q", name, err, wanted)
		}
	}
	if _, err := c.CheckSource(ctx, prefix+"missing"); err == nil || errors.Is(err, ErrUnfit) {
		t.Errorf("a topic that is not there: %v", err)
	}
}

// TestCheckSourceWithoutRights cannot read the settings, and says which.
func TestCheckSourceWithoutRights(t *testing.T) {
	address := startGuarded(t, []kfake.ACL{right(kmsg.ACLResourceTypeTopic, "events", kmsg.ACLOperationRead)}, kfake.SeedTopics(1, "events"))
	c, err := Connect(Options{Addresses: []string{address}, SASL: SASL{ScramSHA256, guardUser, guardPassword}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	warnings, err := c.CheckSource(testContext(t), "events")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], `cleanup.policy, retention.ms, retention.bytes, max.message.bytes cannot be checked`) ||
		!strings.Contains(warnings[0], `allow user "app" DescribeConfigs on that topic`) {
		t.Errorf("got %q, %v", warnings, err)
	}
	if n, err := c.maxMessage(testContext(t), "events"); n != 1048588 || err != nil {
		t.Errorf("the largest message is %d, %v", n, err)
	}
}
