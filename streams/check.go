package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// ErrUnfit is wrapped by CheckSource's error when a topic's settings would lose
// events.
var ErrUnfit = errors.New("the topic's settings lose events")

// For how long a source's topic has to keep its records. What the store has lost,
// with its newest seconds or with a backup that is hours old, is applied again from
// the log, and so is what came in while nothing ran. Under an hour a failed machine
// is enough to lose events; under a day, a night.
const (
	leastRetention = time.Hour
	goodRetention  = 24 * time.Hour
)

// largestRecord is what the topics that we make take: those of re-keyed events and
// of dead letters.
const largestRecord = 16 << 20

// The settings that CheckSource reads.
const (
	cleanupPolicy  = "cleanup.policy"
	retentionMS    = "retention.ms"
	retentionBytes = "retention.bytes"
	messageBytes   = "max.message.bytes"
)

// CheckSource reads the settings of a topic of events. Those that would lose events
// are an error that wraps ErrUnfit and says which command sets them otherwise:
// compaction, and a retention of less than an hour. What should be looked at is a
// warning, of one line each; so is that the settings may not be read.
func (c *Cluster) CheckSource(ctx context.Context, topic string) (warnings []string, err error) {
	names := []string{cleanupPolicy, retentionMS, retentionBytes, messageBytes}
	set, err := c.settings(ctx, topic, names...)
	if refused := new(kafka.Error); errors.As(err, refused) && slices.Contains([]kafka.Error{kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed}, *refused) {
		return []string{fmt.Sprintf("topic %s: %s cannot be checked: %v", topic, strings.Join(names, ", "), c.needs(*refused, "DescribeConfigs on that topic"))}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("streams: settings of topic %s: %w", topic, err)
	}
	var faults []string
	if policy := set[cleanupPolicy]; strings.Contains(policy, "compact") {
		faults = append(faults, fmt.Sprintf("%s is %s, and compaction removes all events of a key but the last; %s", cleanupPolicy, policy, c.alter(topic, cleanupPolicy+"=delete")))
	}
	week := c.alter(topic, fmt.Sprintf("%s=%d", retentionMS, (7*24*time.Hour).Milliseconds()))
	if kept, ok := duration(set[retentionMS]); ok && kept < leastRetention {
		faults = append(faults, fmt.Sprintf("%s is %v, and what the store loses or misses has to be read again later than that: give it at least %v; %s", retentionMS, kept, leastRetention, week))
	} else if ok && kept < goodRetention {
		warnings = append(warnings, fmt.Sprintf("topic %s: %s is %v: events that come in while nothing reads them for longer are lost; %s", topic, retentionMS, kept, week))
	}
	if n, err := strconv.ParseInt(set[retentionBytes], 10, 64); err == nil && n >= 0 {
		warnings = append(warnings, fmt.Sprintf("topic %s: %s is %d: events leave a partition beyond that size however young they are; make sure that it holds a day, or %s", topic, retentionBytes, n, c.alter(topic, retentionBytes+"=-1")))
	}
	if n, err := strconv.ParseInt(set[messageBytes], 10, 64); err == nil && n > largestRecord {
		warnings = append(warnings, fmt.Sprintf("topic %s: %s is %d: an event of over %d bytes can be neither re-keyed nor kept as a dead letter", topic, messageBytes, n, largestRecord))
	}
	if len(faults) > 0 {
		return warnings, fmt.Errorf("streams: topic %s: %w: %s", topic, ErrUnfit, strings.Join(faults, "; "))
	}
	return warnings, nil
}

// alter is the command that changes a setting.
func (c *Cluster) alter(topic, setting string) string {
	command := fmt.Sprintf("kafka-configs.sh --bootstrap-server %s", c.addresses[0])
	if c.tls != nil || c.sasl != nil {
		command += " --command-config FILE"
	}
	return fmt.Sprintf("%s --alter --entity-type topics --entity-name %s --add-config %s", command, topic, setting)
}

// duration reads milliseconds, of which there are none where the topic keeps its
// records for good.
func duration(ms string) (time.Duration, bool) {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n < 0 || n > int64(1<<63-1)/int64(time.Millisecond) {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}

// settings returns a topic's settings of these names, as far as the broker knows
// them. A refusal is a kafka.Error.
func (c *Cluster) settings(ctx context.Context, topic string, names ...string) (map[string]string, error) {
	k, err := c.dialAny(ctx)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	r, err := k.ask(ctx, describeConfigsVersion, &describeconfigs.Request{Resources: []describeconfigs.RequestResource{
		{ResourceType: int8(kafka.ResourceTypeTopic), ResourceName: topic, ConfigNames: names},
	}})
	if err != nil {
		return nil, err
	}
	set := map[string]string{}
	for _, r := range r.(*describeconfigs.Response).Resources {
		if r.ErrorCode != 0 {
			return nil, kafka.Error(r.ErrorCode)
		}
		for _, e := range r.ConfigEntries {
			set[e.ConfigName] = e.ConfigValue
		}
	}
	return set, nil
}

// maxMessage returns the size in bytes of the largest batch that a topic takes: its
// max.message.bytes, or Kafka's default where that may not be read.
func (c *Cluster) maxMessage(ctx context.Context, topic string) (int, error) {
	const usual = 1048588
	set, err := c.settings(ctx, topic, messageBytes)
	if err != nil && !errors.As(err, new(kafka.Error)) {
		return 0, err
	}
	if n, err := strconv.Atoi(set[messageBytes]); err == nil {
		return n, nil
	}
	return usual, nil
}
