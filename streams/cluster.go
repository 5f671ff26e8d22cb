// Package streams reads and writes Kafka topics: records by partition, the
// sharing of partitions between processes, and dead letters.
//
// It speaks to Kafka 2.4 or newer with the messages and codecs of
// segmentio/kafka-go. Where throughput or correctness asks for it, records are
// encoded and decoded here; see Reader and Producer.
package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

const (
	clientID    = "millrace"
	dialTimeout = 5 * time.Second
	askTimeout  = 15 * time.Second // for one answer of a broker
	minPause    = 50 * time.Millisecond
	maxPause    = 2 * time.Second

	// newTopicWait is for how long a topic that the cluster does not know may
	// still be about to appear on all brokers.
	newTopicWait = 10 * time.Second
)

// ErrNoTopic says that the cluster has no such topic, or that the user may not
// see it: Kafka does not tell the two apart.
var ErrNoTopic = errors.New("no such topic; create it, or allow the user to describe it")

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

var errClosed = fmt.Errorf("the cluster is closed: %w", net.ErrClosed)

// A Cluster is a Kafka cluster. Its methods may be called concurrently.
type Cluster struct {
	addresses []string
	tls       *tls.Config // nil: none
	sasl      *SASL       // nil: none
	dialer    net.Dialer

	mu    sync.Mutex
	conns map[*conn]struct{} // nil after Close
}

// Connect returns the cluster that the brokers at the addresses belong to. It
// does not reach out to them yet: the first call does, and fails if no broker
// answers, or with an *AccessError.
func Connect(o Options) (*Cluster, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("streams: connect: %w", err)
	}
	c := &Cluster{
		addresses: slices.Clone(o.Addresses),
		tls:       o.TLS,
		dialer:    net.Dialer{Timeout: dialTimeout},
		conns:     make(map[*conn]struct{}),
	}
	if o.SASL.Mechanism != "" {
		c.sasl = &o.SASL
	}
	return c, nil
}

// String leaves out who we are.
func (c *Cluster) String() string { return fmt.Sprintf("Kafka at %v", c.addresses) }

// GoString leaves out who we are.
func (c *Cluster) GoString() string { return c.String() }

// Close ends all connections to the cluster. Readers and producers that are
// still at work fail with an error that wraps net.ErrClosed.
func (c *Cluster) Close() {
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for k := range conns {
		k.Conn.Close()
	}
}

// ID returns the cluster's id, which Kafka makes once when it is set up.
func (c *Cluster) ID(ctx context.Context) (string, error) {
	m, err := c.metadata(ctx)
	if err != nil {
		return "", fmt.Errorf("streams: cluster id: %w", err)
	}
	return m.ClusterID, nil
}

// ErrPartitions is wrapped by Ensure's error when a topic has another number of
// partitions.
var ErrPartitions = errors.New("another number of partitions")

// Partitions returns a topic's number of partitions. The error wraps
// ErrNoTopic where there is no such topic.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int, error) {
	m, err := c.metadata(ctx, topic)
	if err == nil {
		err = topicError(m)
	}
	if err != nil {
		return 0, fmt.Errorf("streams: partitions of topic %s: %w", topic, c.needs(err, "Describe on that topic"))
	}
	return len(m.Topics[0].Partitions), nil
}

// Ensure makes a topic with the given number of partitions and configuration
// (as retention.ms), or checks that the one that is there has that number. It
// returns when all of its partitions have a leader. The configuration of an
// existing topic is left as it is. The cluster chooses the number of replicas
// by its default.replication.factor.
func (c *Cluster) Ensure(ctx context.Context, topic string, partitions int, config map[string]string) error {
	n, err := c.Partitions(ctx, topic)
	if errors.Is(err, ErrNoTopic) {
		if err := c.create(ctx, topic, partitions, config); err != nil {
			return fmt.Errorf("streams: create topic %s: %w", topic, c.needs(err, "Create on that topic, or create it"))
		}
		n, err = c.await(ctx, topic)
	}
	if err != nil {
		return err
	}
	if n != partitions {
		return fmt.Errorf("streams: topic %s has %d partitions, not %d; set partitions: %d, or use another topic: %w", topic, n, partitions, n, ErrPartitions)
	}
	return nil
}

func (c *Cluster) create(ctx context.Context, topic string, partitions int, config map[string]string) error {
	if !topicName.MatchString(topic) || topic == "." || topic == ".." { // the embedded broker takes any
		return fmt.Errorf("%w: use 1 to 249 letters, digits, dots, underscores or hyphens", kafka.InvalidTopic)
	}
	m, err := c.metadata(ctx)
	if err != nil {
		return err
	}
	k, err := c.dialNode(ctx, m, m.ControllerID)
	if err != nil {
		return err
	}
	defer k.Close()
	t := createtopics.RequestTopic{Name: topic, NumPartitions: int32(partitions), ReplicationFactor: -1}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		t.Configs = append(t.Configs, createtopics.RequestConfig{Name: name, Value: config[name]})
	}
	r, err := k.ask(ctx, createTopicsVersion, &createtopics.Request{
		Topics:    []createtopics.RequestTopic{t},
		TimeoutMs: int32(askTimeout.Milliseconds()),
	})
	if err != nil {
		return err
	}
	for _, t := range r.(*createtopics.Response).Topics {
		// Another process may have been faster; the count is checked later.
		if t.ErrorCode != 0 && kafka.Error(t.ErrorCode) != kafka.TopicAlreadyExists {
			return fmt.Errorf("%w %s", kafka.Error(t.ErrorCode), t.ErrorMessage)
		}
	}
	return nil
}

// await waits until a topic and the leaders of its partitions are known.
func (c *Cluster) await(ctx context.Context, topic string) (int, error) {
	until := time.Now().Add(newTopicWait)
	for try := 0; ; try++ {
		m, err := c.metadata(ctx, topic)
		if err == nil {
			err = topicError(m)
		}
		if err == nil {
			t := m.Topics[0]
			led := !slices.ContainsFunc(t.Partitions, func(p metadata.ResponsePartition) bool { return p.ErrorCode != 0 })
			if led && len(t.Partitions) > 0 {
				return len(t.Partitions), nil
			}
			err = kafka.LeaderNotAvailable
		}
		if time.Now().After(until) || pause(ctx, try) != nil {
			return 0, fmt.Errorf("streams: topic %s was created, but does not appear: %w", topic, err)
		}
	}
}

// Bounds returns the offset of the first record that a partition still has and
// the offset after its last one that can be read: the next to be written, or
// the first of the oldest open transaction.
func (c *Cluster) Bounds(ctx context.Context, topic string, partition int) (first, next int64, err error) {
	first, next, err = c.bounds(ctx, topic, partition)
	for try := 0; err != nil && retriable(err) && try < 6; try++ {
		if pause(ctx, try) != nil {
			break
		}
		first, next, err = c.bounds(ctx, topic, partition)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("streams: bounds of topic %s, partition %d: %w", topic, partition, c.needs(err, "Describe on that topic"))
	}
	return first, next, nil
}

func (c *Cluster) bounds(ctx context.Context, topic string, partition int) (first, next int64, err error) {
	k, err := c.dialLeader(ctx, topic, partition)
	if err != nil {
		return 0, 0, err
	}
	defer k.Close()
	if first, err = k.offset(ctx, topic, partition, kafka.FirstOffset); err != nil {
		return 0, 0, err
	}
	next, err = k.offset(ctx, topic, partition, kafka.LastOffset)
	return first, next, err
}

// metadata asks any broker about the cluster and about a topic, if any. It asks
// anew each time: what a cache would say about a topic that was just made or a
// leader that just changed is wrong for as long as the cache lives.
//
// A topic that one broker does not know may be known to another: it is new, or the
// broker has only just started. All of them are asked before a topic counts as
// missing.
func (c *Cluster) metadata(ctx context.Context, topics ...string) (*metadata.Response, error) {
	k, err := c.dialAny(ctx)
	if err != nil {
		return nil, err
	}
	m, err := k.metadata(ctx, topics)
	if err != nil || !missing(m) {
		return m, err
	}
	for _, b := range m.Brokers {
		address := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		if address == k.address {
			continue
		}
		other, err := c.dial(ctx, address)
		if err != nil {
			continue // it may be down, and then it knows no more than the others
		}
		if o, err := other.metadata(ctx, topics); err == nil && !missing(o) {
			return o, nil
		}
	}
	return m, ctx.Err()
}

// metadata asks one broker, and ends the connection.
func (k *conn) metadata(ctx context.Context, topics []string) (*metadata.Response, error) {
	defer k.Close()
	if topics == nil {
		topics = []string{} // nil asks for all
	}
	r, err := k.ask(ctx, metadataVersion, &metadata.Request{TopicNames: topics})
	if err != nil {
		return nil, err
	}
	return r.(*metadata.Response), nil
}

// missing says whether a broker does not know the topic that it was asked about.
func missing(m *metadata.Response) bool {
	return len(m.Topics) == 1 && errors.Is(topicError(m), ErrNoTopic)
}

func topicError(m *metadata.Response) error {
	if len(m.Topics) != 1 {
		return fmt.Errorf("the broker answered about %d topics, not one", len(m.Topics))
	}
	switch e := kafka.Error(m.Topics[0].ErrorCode); e {
	case 0, kafka.LeaderNotAvailable:
		return nil
	case kafka.UnknownTopicOrPartition:
		return ErrNoTopic
	default:
		return e
	}
}
