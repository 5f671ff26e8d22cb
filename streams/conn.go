package streams

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
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

	saslHandshakeVersion    = 1
	saslAuthenticateVersion = 1
)

const (
	frameHeader = 8        // bytes of an answer before its body: its length and the request's id
	maxAnswer   = 16 << 20 // bytes of an answer, a fetch's excepted, that we accept
)

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
	k, err := c.open(ctx, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		k.Conn.Close()
		return nil, errClosed
	}
	c.conns[k] = struct{}{}
	return k, nil
}

// A conn is a connection to one broker that carries one request at a time.
type conn struct {
	net.Conn
	address string // as it was dialed
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
	stop := context.AfterFunc(ctx, func() {
		_ = k.SetDeadline(time.Unix(1, 0)) // fails on a closed connection, which ends do as well
	})
	err := do()
	if !stop() && err != nil {
		return ctx.Err()
	}
	return err
}

func (k *conn) ask(ctx context.Context, version int16, req protocol.Message) (protocol.Message, error) {
	var frame []byte
	err := k.exchange(ctx, askTimeout, func() (err error) {
		frame, err = k.roundTrip(version, req, nil, maxAnswer)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, res, err := protocol.ReadResponse(bytes.NewReader(frame), req.ApiKey(), version)
	return res, err
}

// roundTrip sends a request and reads the whole answer, of at most limit bytes,
// into buf, or into a larger buffer where buf is too small. The answer's own
// header is frameHeader bytes of it.
//
// What the answer says is believed, lengths included, once it is known to be
// Kafka's: protocol.RoundTrip allocates by them first, and the answer of
// another server would take all memory.
func (k *conn) roundTrip(version int16, req protocol.Message, buf []byte, limit int) ([]byte, error) {
	k.id++
	if err := protocol.WriteRequest(k, version, k.id, clientID, req); err != nil {
		return buf, err
	}
	var head [frameHeader]byte
	if got, err := io.ReadFull(k, head[:]); err != nil {
		return buf, k.hungUp(head[:got], err)
	}
	n := int64(int32(binary.BigEndian.Uint32(head[:]))) + 4 // the length does not count itself
	if n < frameHeader || n > int64(limit) {
		return buf, fmt.Errorf("%s announces an answer of %d bytes, and 4 to %d are read: it is not Kafka, or expects TLS? check the address", k.address, n-4, limit-4)
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != k.id {
		return buf, fmt.Errorf("%s answers request %d and was asked %d: it is not Kafka? check the address", k.address, id, k.id)
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n+n/8)
	}
	buf = buf[:n]
	copy(buf, head[:])
	_, err := io.ReadFull(k, buf[frameHeader:])
	return buf, err
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
