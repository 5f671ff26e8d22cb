package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/lake"
)

// Files of a dataset. What their names end with says what they are: .csv with
// a header line, or .json, .jsonl and .ndjson with one object on each line.
type Files struct {
	// Events is a file of events in the order of the log, or the folder of a
	// lake. A file may have a column _arrival, as RFC 3339; without it an event
	// arrived when it happened, and known_by cannot be asked for.
	Events string

	// Probes has the columns of the view's entity, as_of and, where they differ
	// by probe, known_by, both as RFC 3339; one for each request.* of the view,
	// without the prefix; and any others, which are carried along.
	Probes string

	// Out is written whole or not at all: entity, as_of, the other columns of
	// Probes as they were, then a column for each feature. A missing value is an
	// empty cell in CSV and null in JSON. A cell of a CSV file is a text in JSON,
	// but for entities that are ints and for request values.
	Out string

	// KnownByArrival lets a probe without a known_by see only the events that
	// had arrived at its as_of.
	KnownByArrival bool
}

// BuildFiles builds the dataset of a view from files. Events that are not the
// source's are refused by the reasons of package codec, as the pipeline does.
// Options.Rejected gets a *LineError for each refused line of a file, with no
// event where the line is none. Any other error ends the build, and names the
// file and line.
func BuildFiles(ctx context.Context, plan *features.Plan, f Files, o Options) (Counts, error) {
	read, err := eventsOf(f.Events, plan)
	if err != nil {
		return Counts{}, err
	}
	if _, err := textFormat(f.Out); err != nil {
		return Counts{}, err
	}
	probes, err := readProbes(ctx, f.Probes, plan, f.KnownByArrival)
	if err != nil {
		return Counts{}, err
	}
	in := &input{path: f.Events, plan: plan, rejected: o.Rejected, reasons: map[string]int64{}, arrivals: probes.needArrivals()}
	o.Rejected = in.reject
	set, err := Build(ctx, plan, read(ctx, in), in.shardOf, probes.probes, o)
	if err != nil {
		return Counts{}, err
	}
	for reason, n := range in.reasons {
		set.Counts.Rejected[reason] += n
		set.Counts.Events += n
	}
	return set.Counts, write(ctx, f.Out, plan, probes, set)
}

// textFormat returns csv or json by the name of a file.
func textFormat(path string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".csv":
		return "csv", nil
	case ".json", ".jsonl", ".ndjson":
		return "json", nil
	default:
		return "", fmt.Errorf("offline: %s: cannot tell its format from %q: use a name that ends with .csv, .json, .jsonl or .ndjson", path, ext)
	}
}

// A LineError is one line of a file of events that was refused.
type LineError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns a *codec.Error or a *features.Rejection.
func (e *LineError) Unwrap() error { return e.Err }

// An input is where events come from.
type input struct {
	path      string
	plan      *features.Plan
	arrivals  bool // each event must say when it arrived
	line      int  // of the event at hand; 0: it is the lake's
	partition int  // of the event at hand in the lake
	rejected  func(*features.Event, error)
	reasons   map[string]int64 // of lines that are not events
}

type reader func(context.Context, *input) iter.Seq2[*features.Event, error]

// eventsOf returns what reads the events at path.
func eventsOf(path string, plan *features.Plan) (reader, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("offline: events: %w", err)
	}
	if info.IsDir() {
		if !plan.Keyed() {
			return nil, fmt.Errorf("offline: %s: view %q is applied from a topic re-keyed by %s, and the lake has the order of source %q: give the events as a file in the order of the log",
				path, plan.View.Name, strings.Join(plan.View.Entity, ", "), plan.Source.Name)
		}
		if _, err := os.Stat(lake.Folder(path, plan.Source.Name)); err != nil {
			return nil, fmt.Errorf("offline: %s is not a lake with events of source %q: %w", path, plan.Source.Name, err)
		}
		return fromLake, nil
	}
	format, err := textFormat(path)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, in *input) iter.Seq2[*features.Event, error] { return fromFile(in, format) }, nil
}

// shardOf returns the partition of an event: the one where the lake has it, or
// where its producer would have put it.
func (in *input) shardOf(_ *features.Event, entity []byte) int {
	if in.line == 0 {
		return in.partition
	}
	return streams.PartitionOf(entity, in.plan.Source.Partitions)
}

func (in *input) reject(e *features.Event, why error) {
	if in.rejected == nil {
		return
	}
	if in.line > 0 {
		why = &LineError{in.path, in.line, why}
	}
	in.rejected(e, why)
}

func fromLake(ctx context.Context, in *input) iter.Seq2[*features.Event, error] {
	return in.fromRows(lake.Events(ctx, in.path, in.plan.Source))
}

func (in *input) fromRows(rows iter.Seq2[lake.Row, error]) iter.Seq2[*features.Event, error] {
	return func(yield func(*features.Event, error) bool) {
		for row, err := range rows {
			in.partition = row.Partition
			if !yield(&row.Event, err) {
				return
			}
		}
	}
}

// arrivalField is the column of the arrivals, as the lake calls it.
const arrivalField = "_arrival"

// fromFile reads the lines of a file.
func fromFile(in *input, format string) iter.Seq2[*features.Event, error] {
	return func(yield func(*features.Event, error) bool) {
		f, err := os.Open(in.path)
		if err != nil {
			yield(nil, fmt.Errorf("offline: events: %w", err))
			return
		}
		defer f.Close()
		fromLines(in, f, 0, format)(yield)
	}
}

// fromLines reads lines of a file, with so many before them. Their order is that
// of the log, and an event that does not say when it arrived did so when it
// happened.
func fromLines(in *input, r io.Reader, before int, format string) iter.Seq2[*features.Event, error] {
	src := in.plan.Source
	fields := len(src.Fields)
	src.Fields = append(src.Fields[:fields:fields], features.Field{Name: arrivalField, Kind: expr.Time, Optional: true})
	return func(yield func(*features.Event, error) bool) {
		for line, err := range codec.Lines(r, src, format) {
			var bad *codec.LineError
			if errors.As(err, &bad) {
				bad.Number += before
				in.badLine(bad)
				continue
			}
			if err != nil {
				yield(nil, fmt.Errorf("offline: %s: %w", in.path, err))
				return
			}
			in.line = before + line.Number
			if err := in.complete(line.Event); err != nil {
				yield(nil, fmt.Errorf("offline: %s:%d: %w", in.path, in.line, err))
				return
			}
			if !yield(line.Event, nil) {
				return
			}
		}
	}
}

func (in *input) badLine(bad *codec.LineError) {
	var why *codec.Error
	if errors.As(bad, &why) {
		in.reasons[why.Reason]++
	}
	in.line = bad.Number
	in.reject(nil, bad.Err)
}

// complete gives an event of a file its place and its arrival.
func (in *input) complete(e *features.Event) error {
	e.Order = features.OrderOf(0, int64(in.line))
	last := len(e.Values) - 1
	arrival := e.Values[last]
	e.Values = e.Values[:last]
	e.Arrival = e.Time
	if arrival.Kind == expr.Time {
		e.Arrival = arrival.Int()
	} else if in.arrivals {
		return fmt.Errorf("known_by asks when events arrived, and this one does not say: give it %s", arrivalField)
	}
	return nil
}
