package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// The timing of a consumer group. A member that ends without leaving is missed
// after sessionTimeout.
const (
	sessionTimeout = 10 * time.Second
	heartbeatEvery = 500 * time.Millisecond // and so a change is noticed
	joinPause      = 300 * time.Millisecond
)

// Share takes part in sharing out the partitions of topics among all processes
// that call Share with the same group, until ctx ends. It calls own in a
// goroutine for each partition that is ours. At a change of members, or when
// ctx ends, the ctx of own is cancelled, and the partition is given to another
// member only after own has returned; where own takes longer than 10 s, or the
// process loses the cluster, two members can own a partition for a while: the
// commits of the online store keep them apart. An own that returns early keeps
// its partition, unattended.
//
// While no assignment can be had, as with the cluster away, Share tries again,
// and tells report why at each try; it tells it nil when there is one. A change
// of members is no such trouble.
//
// The group serves for the assignment only: no offset is committed to it.
// Share returns ctx's error, or earlier that of a group that cannot be joined
// for a lasting reason, as kafka.GroupAuthorizationFailed.
func (c *Cluster) Share(ctx context.Context, group string, topics []string, own func(ctx context.Context, topic string, partition int), report func(error)) error {
	for _, t := range topics {
		if _, err := c.Partitions(ctx, t); err != nil && (ctx.Err() != nil || !retriable(err)) {
			return fmt.Errorf("streams: share as group %s: %w", group, err)
		}
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                group,
		Brokers:           c.addresses,
		Topics:            topics,
		Dialer:            &kafka.Dialer{ClientID: clientID, Timeout: dialTimeout, DialFunc: c.dialGroup},
		HeartbeatInterval: heartbeatEvery,
		SessionTimeout:    sessionTimeout,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  joinPause,
	})
	if err != nil {
		return fmt.Errorf("streams: share as group %s: %w", group, err)
	}
	m := &member{group: g, own: own, report: report}
	err = m.generations(ctx)
	g.Close() // ends the generation and leaves the group
	m.running.Wait()
	return fmt.Errorf("streams: share as group %s: %w", group, c.needs(err, "Read on that group and on its topics"))
}

// dialGroup connects for the group's own client, which has neither to encrypt nor
// to prove anything then.
func (c *Cluster) dialGroup(ctx context.Context, _, address string) (net.Conn, error) {
	k, err := c.open(ctx, address)
	if err != nil {
		return nil, err // and not k: a nil *conn is no nil net.Conn
	}
	return k, nil
}

type member struct {
	group   *kafka.ConsumerGroup
	own     func(ctx context.Context, topic string, partition int)
	report  func(error)
	running sync.WaitGroup // the calls of own
}

func (m *member) generations(ctx context.Context) error {
	for try := 0; ; {
		gen, err := m.group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			try = 0
			m.report(nil)
			m.running.Wait()
			m.start(ctx, gen)
		case fatal(err):
			return err
		default:
			if !errors.Is(err, kafka.RebalanceInProgress) {
				m.report(err)
			}
			if err := pause(ctx, try); err != nil {
				return err
			}
			try++
		}
	}
}

// start runs own for each partition of a generation.
func (m *member) start(ctx context.Context, gen *kafka.Generation) {
	for topic, parts := range gen.Assignments {
		for _, p := range parts {
			m.running.Add(1)
			gen.Start(func(ended context.Context) {
				defer m.running.Done()
				m.attend(ctx, ended, topic, p.ID)
			})
		}
	}
}

// attend calls own, and returns when the generation has ended, too: a function
// that returned earlier would end it.
func (m *member) attend(ctx, ended context.Context, topic string, partition int) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		<-ended.Done()
		cancel()
	})
	defer watch.Wait()
	if ended.Err() == nil {
		m.own(ctx, topic, partition)
	}
}

// fatal says whether joining a group fails for a reason that stays.
func fatal(err error) bool {
	var e kafka.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e {
	case kafka.GroupAuthorizationFailed, kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.InconsistentGroupProtocol, kafka.InvalidGroupId, kafka.InvalidSessionTimeout, kafka.InvalidTopic:
		return true
	}
	return false
}
