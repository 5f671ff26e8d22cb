package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

const (
	// produceTimeout is for how long events may take to be acknowledged by the
	// log. A broker that is started again is back within it.
	produceTimeout = 10 * time.Second

	// maxBadLines is how many of the lines that are not events an answer tells
	// about: enough to see what is wrong with all of them.
	maxBadLines = 20
)

// MaxEvent is the most bytes of an event, as its topic holds it, and its key:
// with what Kafka adds to them it is below the default of a topic's
// max.message.bytes.
const MaxEvent = 1_000_000

// A source is one into which events are taken.
type source struct {
	features.Source
	key      *features.SourceKey
	fields   []features.Field
	decoders sync.Pool // of *codec.Decoder, which read JSON whatever the topic holds
}

func newSource(src features.Source) (*source, error) {
	if _, err := codec.New(src); err != nil {
		return nil, err
	}
	key, err := features.NewSourceKey(src)
	if err != nil {
		return nil, err
	}
	asJSON := src
	asJSON.Format = "json"
	if _, err := codec.New(asJSON); err != nil {
		return nil, err
	}
	in := &source{Source: src, key: key, fields: src.EventFields()}
	in.decoders.New = func() any {
		d, err := codec.New(asJSON)
		if err != nil {
			panic(err) // it was well above
		}
		return d
	}
	return in, nil
}

// ingest answers POST /v1/events/{source}. The body is one event, or one on
// each line. It is written whole or, where any line is not an event of the
// source, not at all: the sender fixes it and sends the same body again,
// without having to know which part of it is in the log already. (Once the log
// is at work part of a body may be written; then the answer says which.)
func (s *Server) ingest(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Path[len(eventsPath):]
	src := s.sources[name]
	if src == nil {
		return problem(http.StatusNotFound, "there is no source %s; there are %s", short(name), few(slices.Sorted(maps.Keys(s.sources))))
	}
	body := s.buffer()
	defer s.doneBuffer(body)
	if err := s.receive(w, r, body, s.ingests); err != nil {
		return err
	}
	defer s.ingests.leave()
	b := batch{source: src}
	if err := b.read(*body, isLines(r.Header.Get("Content-Type"))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	positions, err := s.produce(ctx, src.Topic, b.records)
	if err != nil {
		if r.Context().Err() != nil {
			return context.Cause(r.Context())
		}
		return s.produceProblem(err, ctx.Err() != nil, positions, "events", ", and give the source an id and dedup if an event must never count twice")
	}
	writeJSON(w, http.StatusOK, append(appendPositions([]byte{'{'}, positions), '}'))
	return nil
}

// isLines reports whether a content type says that each line is an event.
func isLines(contentType string) bool {
	t, _, _ := mime.ParseMediaType(contentType)
	return t == "application/x-ndjson" || t == "application/ndjson" || t == "application/jsonl" || t == "application/x-jsonlines"
}

// produceProblem is what to answer when records, which are events or outcomes,
// could not be written, because of err or, where it is late, because the log
// took too long. Again says what sending them again needs.
func (s *Server) produceProblem(err error, late bool, positions []streams.Position, records, again string) error {
	var refusal *streams.Refusal
	if errors.As(err, &refusal) { // sending it again would not help
		return badRequest("the topic does not take it: %v", err)
	}
	written := 0
	for _, at := range positions {
		if at.Offset >= 0 {
			written++
		}
	}
	what := fmt.Sprintf("the log did not acknowledge the %s within %v; send them again", records, s.patience)
	switch {
	case written > 0 && late:
		what = fmt.Sprintf("the log acknowledged %d of %d %s within %v; send again those whose offset is -1", written, len(positions), records, s.patience)
	case written > 0:
		what = fmt.Sprintf("%d of %d %s were written before the log failed; mend what the detail says, and send again those whose offset is -1", written, len(positions), records)
	case !late:
		what = fmt.Sprintf("the %s could not be written; mend what the detail says, and send them again", records)
	}
	p := unavailable(err, "%s%s", what, again)
	if written > 0 {
		p.extra = appendPositions(nil, positions)
	}
	return p
}

// A batch is the events of one body, on their way to the topic.
type batch struct {
	*source
	decoder *codec.Decoder
	event   features.Event
	keys    []byte
	records []streams.Record
	bad     badLines
}

// read makes the records of a body.
func (b *batch) read(body []byte, lines bool) error {
	b.decoder = b.decoders.Get().(*codec.Decoder)
	defer b.decoders.Put(b.decoder)
	eachLine(body, lines, b.compact)
	return b.bad.problem(len(b.records), "events", fmt.Sprintf("events of source %q", b.Name), "one event as a JSON object")
}

// compact adds an event, on one line.
func (b *batch) compact(number int, value []byte) {
	if bytes.IndexByte(value, '\n') >= 0 {
		v := jsontext.Value(value)
		if err := v.Compact(jsontext.AllowDuplicateNames(true)); err != nil {
			b.refuse(number, err)
			return
		}
		value = v
	}
	b.add(number, value)
}

// add makes the record of one event.
func (b *batch) add(number int, value []byte) {
	if err := b.decoder.Decode(value, &b.event); err != nil {
		b.refuse(number, err)
		return
	}
	from := len(b.keys)
	keys, err := b.key.Append(b.keys, b.event.Values)
	if err != nil {
		b.refuse(number, err)
		return
	}
	b.keys = keys
	if b.Format == "csv" {
		value = codec.AppendCSV(nil, b.fields, b.event.Values)
	}
	if n := len(keys) - from + len(value); n > MaxEvent {
		b.refuse(number, &codec.Error{Reason: codec.TooLarge, Problem: fmt.Sprintf("makes a record of %d bytes; at most %d are taken", n, MaxEvent)})
		return
	}
	if b.bad.count > 0 {
		b.records = append(b.records, streams.Record{}) // counted, never written
		return
	}
	record := streams.Record{Value: value, Partition: -1}
	if len(keys) > from {
		record.Key = keys[from:len(keys):len(keys)]
	}
	b.records = append(b.records, record)
}

// refuse notes what is wrong with a line.
func (b *batch) refuse(number int, err error) {
	reason, field, what := "bad_key", "", err.Error()
	var bad *codec.Error
	var key *features.Rejection
	switch {
	case errors.As(err, &bad):
		reason, field, what = bad.Reason, bad.Field, bad.Problem
	case errors.As(err, &key):
		what = key.Detail + "; the source is keyed by " + strings.Join(b.KeyedBy, ", ")
	}
	b.bad.add(number, reason, field, what)
}
