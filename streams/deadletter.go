package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// A DeadLetter is a record that a stage could not process, with the reason and
// its original bytes. Stage, View, Space, Topic, Partition and Offset identify
// it: it may be written more than once and counts once.
type DeadLetter struct {
	Stage     string `json:"stage"`     // what refused it, as pipeline or rekey
	View      string `json:"view"`      // the view it was refused for; empty: for all
	Space     string `json:"space"`     // the row space it was refused for, which a changed view has anew; empty: none
	Topic     string `json:"topic"`     // where it lies
	Partition int    `json:"partition"` //
	Offset    int64  `json:"offset"`    //
	Reason    string `json:"reason"`    // one word to count by, as too_late
	Error     string `json:"error"`     // for people
	Key       []byte `json:"key"`       // base64; null where the record has none
	Value     []byte `json:"value"`     // base64; null where the record has none
	Arrival   int64  `json:"arrival"`   // the record's timestamp, microseconds since the Unix epoch
}

// deadLetterVersion is the version of the encoding. A reader refuses others.
const deadLetterVersion = 1

// maxErrorText limits the text of an error in a dead letter, in bytes.
const maxErrorText = 4 << 10

// ErrBadDeadLetter says that a record of a dead-letter topic is not one.
var ErrBadDeadLetter = errors.New("not a dead letter")

// DeadLetterConfig returns the configuration of a dead-letter topic for
// Ensure: records stay until they are deleted, and one may be 16 MiB, so that
// an original of 11 MiB fits in base64. The Producer refuses what is larger;
// whoever writes dead letters must stop then, for going on would lose it.
func DeadLetterConfig() map[string]string {
	return map[string]string{"retention.ms": "-1", "max.message.bytes": "16777216"}
}

type encodedDeadLetter struct {
	V int `json:"v"`
	DeadLetter
}

// Record encodes a dead letter for a Producer: JSON, keyed by the identity, so
// that all copies of one go to one partition. An Error over 4 KiB is cut.
//
// For each stage, view, space, topic and partition, write dead letters in the order
// of their offsets: ReadDeadLetters relies on it.
func (d DeadLetter) Record() (Record, error) {
	if len(d.Error) > maxErrorText {
		d.Error = strings.ToValidUTF8(d.Error[:maxErrorText], "")
	}
	key, err := json.Marshal([]any{d.Stage, d.View, d.Space, d.Topic, d.Partition, d.Offset})
	if err != nil {
		return Record{}, fmt.Errorf("streams: encode dead letter: %w", err)
	}
	value, err := json.Marshal(encodedDeadLetter{V: deadLetterVersion, DeadLetter: d})
	if err != nil {
		return Record{}, fmt.Errorf("streams: encode dead letter: %w", err)
	}
	return Record{Key: key, Value: value, Partition: -1}, nil
}

// DecodeDeadLetter decodes the value of a dead letter's record. Its error
// wraps ErrBadDeadLetter.
func DecodeDeadLetter(value []byte) (DeadLetter, error) {
	var e encodedDeadLetter
	if err := json.Unmarshal(value, &e); err != nil {
		return DeadLetter{}, fmt.Errorf("%w: %v", ErrBadDeadLetter, err)
	}
	if e.V != deadLetterVersion {
		return DeadLetter{}, fmt.Errorf("%w of version %d: this program reads version %d", ErrBadDeadLetter, e.V, deadLetterVersion)
	}
	if e.Topic == "" || e.Partition < 0 || e.Offset < 0 {
		return DeadLetter{}, fmt.Errorf("%w: topic %q, partition %d, offset %d is no position", ErrBadDeadLetter, e.Topic, e.Partition, e.Offset)
	}
	return e.DeadLetter, nil
}

// letterGroup is what has dead letters in the order of their offsets.
type letterGroup struct {
	stage, view, space, topic string
	partition                 int
}

// ReadDeadLetters yields each dead letter of a topic once, from the topic's
// start to the end that it has when the iteration begins, partition by
// partition. What it remembers is one offset for each stage, view, space, topic
// and partition that has any.
//
// A record that is not a dead letter yields an error that wraps
// ErrBadDeadLetter, and the iteration goes on. Any other error ends it.
func ReadDeadLetters(ctx context.Context, c *Cluster, topic string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		n, err := c.Partitions(ctx, topic)
		if err != nil {
			yield(DeadLetter{}, err)
			return
		}
		for p := range n {
			if !readLetters(ctx, c, topic, p, yield) {
				return
			}
		}
	}
}

func readLetters(ctx context.Context, c *Cluster, topic string, partition int, yield func(DeadLetter, error) bool) bool {
	first, end, err := c.Bounds(ctx, topic, partition)
	if err != nil {
		yield(DeadLetter{}, err)
		return false
	}
	r := c.Reader(topic, partition, first)
	defer r.Close()
	seen := make(map[letterGroup]int64) // the offset after the last one yielded
	for next := first; next < end; {
		b, err := r.Fetch(ctx)
		if err != nil {
			yield(DeadLetter{}, err)
			return false
		}
		for _, rec := range b.Records {
			if rec.Offset >= end {
				return true
			}
			d, err := DecodeDeadLetter(rec.Value)
			if err != nil {
				err = fmt.Errorf("streams: topic %s, partition %d, offset %d: %w", topic, partition, rec.Offset, err)
			} else {
				g := letterGroup{d.Stage, d.View, d.Space, d.Topic, d.Partition}
				if d.Offset < seen[g] {
					continue
				}
				seen[g] = d.Offset + 1
			}
			if !yield(d, err) {
				return false
			}
		}
		next = b.Next
	}
	return true
}
