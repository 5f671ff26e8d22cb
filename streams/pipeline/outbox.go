package pipeline

import (
	"context"

	"github.com/millrace/millrace/streams"
)

// Limits of what an outbox holds in memory.
const (
	outboxRecords = 500
	outboxBytes   = 8 << 20
)

// An outbox gathers records that a shard puts out. It writes them when it is
// full, and before each commit that passes what they are about. What a crash
// makes it write twice, the readers skip.
type outbox struct {
	host    *Host
	topic   string
	records []streams.Record
	bytes   int
}

func (o *outbox) add(ctx context.Context, rec streams.Record) error {
	o.records = append(o.records, rec)
	if o.bytes += len(rec.Value); len(o.records) < outboxRecords && o.bytes < outboxBytes {
		return nil
	}
	return o.flush(ctx)
}

// flush writes the gathered records and waits until the log has them.
func (o *outbox) flush(ctx context.Context) error {
	if err := produce(ctx, o.host, o.topic, o.records); err != nil {
		return err
	}
	clear(o.records)
	o.records, o.bytes = o.records[:0], 0
	return nil
}
