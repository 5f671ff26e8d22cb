package pipeline

import (
	"context"
	"errors"
	"hash/crc32"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// sameLog checks that a partition is the one that a state's progress is about,
// and still has what comes next. The state of a shard that was never committed
// is set to the log's beginning. What has to go, besides the store, where the log
// is another says rest; nothing does if it is empty.
func sameLog(ctx context.Context, h *Host, topic string, partition int, state *online.State, rest string) error {
	g := &state.Progress
	if g.Cluster != h.cluster || g.Topic != topic {
		return stopf("the store was filled from topic %s of cluster %s, and this is topic %s of cluster %s: use that cluster, or an empty store", g.Topic, g.Cluster, topic, h.cluster)
	}
	first, next, err := h.cfg.Cluster.Bounds(ctx, topic, partition)
	if err != nil {
		return err
	}
	switch {
	case state.Token == (online.Token{}):
		g.Next = first
	case g.Next > next:
		return stopf("the store has applied the log up to offset %d, and the log ends at %d: it lost records or is another; use the log that was applied, or an empty store%s", g.Next, next, rest)
	case g.Next < first:
		return stopf("the store has applied the log up to offset %d, and the log now begins at %d: records in between are gone; raise the topic's retention, and start again with an empty store", g.Next, first)
	case g.Next > first:
		return sameRecord(ctx, h, topic, partition, g, rest)
	}
	return nil
}

// sameRecord reads the last applied record again and compares its checksum.
func sameRecord(ctx context.Context, h *Host, topic string, partition int, g *online.Progress, rest string) error {
	reader := h.cfg.Cluster.Reader(topic, partition, g.Next-1)
	defer reader.Close()
	batch, err := reader.Fetch(ctx)
	if err != nil {
		return explain(err)
	}
	if len(batch.Records) == 0 || batch.Records[0].Offset != g.Next-1 {
		return stopf("offset %d, which the store has applied, is not in the log: use the log that was applied, or an empty store%s", g.Next-1, rest)
	}
	if sum := checksum(&batch.Records[0]); sum != g.Checksum {
		return stopf("the record at offset %d is not the one that the store has applied (checksum %08x, not %08x): the topic was made anew; use an empty store%s", g.Next-1, sum, g.Checksum, rest)
	}
	return nil
}

func explain(err error) error {
	var out *streams.OutOfRange
	if errors.As(err, &out) {
		return errAgain // open says what is wrong, or the log moved on
	}
	if errors.Is(err, streams.ErrNoTopic) {
		return stopf("%v", err)
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of a record's key and value.
func checksum(r *streams.Record) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, r.Key), castagnoli, r.Value)
}
