// Package streams reads and writes Kafka topics: records by partition, the
// sharing of partitions between processes, and dead letters.
//
// It speaks to Kafka 2.4 or newer with the messages and codecs of
// segmentio/kafka-go. Where throughput or correctness asks for it, records are
// encoded and decoded here; see Reader and Producer.
package streams

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
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

// Versions of the messages that are exchanged: all are known to Kafka 2.4, and
// none was removed by Kafka 4. They are fixed rather than negotiated, so that
// what is tested is what runs.
const (
	produceVersion         = 7
	fetchVersion           = 10
	listOffsetsVersion     = 5
	metadataVersion        = 8
	createTopicsVersion    = 4
	initProducerIDVersion  = 1
	describeConfigsVersion = 1
)

// ErrNoTopic says that the cluster has no such topic, or that the user may not
// see it: Kafka does not tell the two apart.
var ErrNoTopic = errors.New("no such topic; create it, or allow the user to describe it")

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

var errClosed = fmt.Errorf("the cluster is closed: %w", net.ErrClosed)

// A Cluster is a Kafka cluster. Its methods may be called concurrently.
type Cluster struct {
	addresses []string
	dialer    net.Dialer

	mu    sync.Mutex
	conns map[*conn]struct{} // nil after Close
}

// Connect returns the cluster that the brokers at the addresses (host:port)
// belong to. It does not wait for them: the first call that needs a broker
// does.
func Connect(addresses []string) (*Cluster, error) {
	if len(addresses) == 0 {
		return nil, errors.New("streams: connect: no broker address is given; name at least one as host:port")
	}
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, fmt.Errorf("streams: connect: broker address %q is not host:port: %w", a, err)
		}
	}
	return &Cluster{
		addresses: slices.Clone(addresses),
		dialer:    net.Dialer{Timeout: dialTimeout},
		conns:     make(map[*conn]struct{}),
	}, nil
}

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

// Partitions returns a topic's number of partitions. The error wraps
// ErrNoTopic where there is no such topic.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int, error) {
	m, err := c.metadata(ctx, topic)
	if err == nil {
		err = topicError(m)
	}
	if err != nil {
		return 0, fmt.Errorf("streams: partitions of topic %s: %w", topic, err)
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
			return fmt.Errorf("streams: create topic %s: %w", topic, err)
		}
		n, err = c.await(ctx, topic)
	}
	if err != nil {
		return err
	}
	if n != partitions {
		return fmt.Errorf("streams: topic %s has %d partitions, not %d; set partitions: %d, or use another topic", topic, n, partitions, n)
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
		return 0, 0, fmt.Errorf("streams: bounds of topic %s, partition %d: %w", topic, partition, err)
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

// maxMessage returns the size in bytes of the largest batch that a topic
// takes: its max.message.bytes, or Kafka's default where that may not be read.
func (c *Cluster) maxMessage(ctx context.Context, topic string) (int, error) {
	const name, usual = "max.message.bytes", 1048588
	k, err := c.dialAny(ctx)
	if err != nil {
		return 0, err
	}
	defer k.Close()
	r, err := k.ask(ctx, describeConfigsVersion, &describeconfigs.Request{Resources: []describeconfigs.RequestResource{
		{ResourceType: int8(kafka.ResourceTypeTopic), ResourceName: topic, ConfigNames: []string{name}},
	}})
	if err != nil {
		return 0, err
	}
	for _, r := range r.(*describeconfigs.Response).Resources {
		for _, e := range r.ConfigEntries {
			if n, err := strconv.Atoi(e.ConfigValue); e.ConfigName == name && err == nil {
				return n, nil
			}
		}
	}
	return usual, nil
}

// metadata asks any broker about the cluster and about the topics, if any. It
// asks anew each time: what a cache would say about a topic that was just made
// or a leader that just changed is wrong for as long as the cache lives.
func (c *Cluster) metadata(ctx context.Context, topics ...string) (*metadata.Response, error) {
	k, err := c.dialAny(ctx)
	if err != nil {
		return nil, err
	}
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

// dialLeader connects to the broker that leads a partition.
func (c *Cluster) dialLeader(ctx context.Context, topic string, partition int) (*conn, error) {
	m, err := c.metadata(ctx, topic)
	if err == nil {
		err = topicError(m)
	}
	if err != nil {
		return nil, err
	}
	ps := m.Topics[0].Partitions
	i := slices.IndexFunc(ps, func(p metadata.ResponsePartition) bool { return int(p.PartitionIndex) == partition })
	if i < 0 {
		return nil, fmt.Errorf("partition %d of %d: %w", partition, len(ps), ErrNoTopic)
	}
	return c.dialNode(ctx, m, ps[i].LeaderID)
}

func (c *Cluster) dialNode(ctx context.Context, m *metadata.Response, id int32) (*conn, error) {
	for _, b := range m.Brokers {
		if b.NodeID == id {
			return c.dial(ctx, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
		}
	}
	return nil, kafka.LeaderNotAvailable
}

// dialAny connects to the first of the given brokers that answers, beginning
// anywhere so that many processes do not all burden the same.
func (c *Cluster) dialAny(ctx context.Context) (*conn, error) {
	var errs []error
	for i, n := 0, rand.IntN(len(c.addresses)); i < len(c.addresses); i++ {
		k, err := c.dial(ctx, c.addresses[(i+n)%len(c.addresses)])
		if err == nil {
			return k, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (c *Cluster) dial(ctx context.Context, address string) (*conn, error) {
	nc, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	k := &conn{Conn: nc, cluster: c, in: bufio.NewReader(nc)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		nc.Close()
		return nil, errClosed
	}
	c.conns[k] = struct{}{}
	return k, nil
}

// A conn is a connection to one broker that carries one request at a time.
type conn struct {
	net.Conn
	cluster *Cluster
	in      *bufio.Reader
	id      int32 // of the last request
}

func (k *conn) Read(b []byte) (int, error) { return k.in.Read(b) }

func (k *conn) Close() error {
	k.cluster.mu.Lock()
	delete(k.cluster.conns, k)
	k.cluster.mu.Unlock()
	return k.Conn.Close()
}

// exchange runs do, which sends a request and reads its answer, within a time
// limit and until ctx ends. After an error the connection is of no use.
func (k *conn) exchange(ctx context.Context, limit time.Duration, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := k.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { k.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() && err != nil {
		return ctx.Err()
	}
	return err
}

func (k *conn) ask(ctx context.Context, version int16, req protocol.Message) (res protocol.Message, err error) {
	err = k.exchange(ctx, askTimeout, func() error {
		k.id++
		res, err = protocol.RoundTrip(k, version, k.id, clientID, req)
		return err
	})
	return res, err
}

// offset asks for kafka.FirstOffset or kafka.LastOffset of a partition.
func (k *conn) offset(ctx context.Context, topic string, partition int, which int64) (int64, error) {
	r, err := k.ask(ctx, listOffsetsVersion, &listoffsets.Request{
		ReplicaID:      -1,
		IsolationLevel: int8(kafka.ReadCommitted),
		Topics: []listoffsets.RequestTopic{{Topic: topic, Partitions: []listoffsets.RequestPartition{
			{Partition: int32(partition), CurrentLeaderEpoch: -1, Timestamp: which},
		}}},
	})
	if err != nil {
		return 0, err
	}
	t := r.(*listoffsets.Response).Topics
	if len(t) != 1 || len(t[0].Partitions) != 1 {
		return 0, errors.New("the broker answered about another partition")
	}
	if code := t[0].Partitions[0].ErrorCode; code != 0 {
		return 0, kafka.Error(code)
	}
	return t[0].Partitions[0].Offset, nil
}

// retriable says whether an exchange that failed may succeed later: all
// failures of the network, and what brokers answer while leaders change.
func retriable(err error) bool {
	var e kafka.Error
	switch {
	case errors.Is(err, errClosed), errors.Is(err, ErrNoTopic):
		return false
	case errors.As(err, &e):
		return e.Temporary() || e == kafka.Unknown || e == kafka.BrokerNotAvailable || e == kafka.ReplicaNotAvailable
	}
	return true
}

// pause waits before the next try: from 50 ms doubled up to 2 s, of which the
// upper half is random so that clients do not all come back at once.
func pause(ctx context.Context, try int) error {
	d := min(minPause<<min(try, 10), maxPause)
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
