package offline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/lake"
)

// Blocks are bytes of several items of one key. Each item begins with its place,
// as an uvarint: an event's in the log, a probe's or a line's in its file. A
// block of events begins with the place of its first one, in 8 bytes more: the
// blocks of a shard, ordered by it, are the shard's log.

// A shuffler gathers blocks by their keys and hands them on as they fill up.
type shuffler struct {
	blocks map[int64][]byte
	events bool
	emit   func(key int64, b []byte) error
}

// begin returns the block to which an item is to be appended, and put takes it
// back.
func (s *shuffler) begin(key int64, place uint64) []byte {
	b := s.blocks[key]
	if len(b) == 0 && s.events {
		b = binary.BigEndian.AppendUint64(b, place)
	}
	return binary.AppendUvarint(b, place)
}

func (s *shuffler) put(key int64, b []byte) error {
	if len(b) < blockBytes {
		s.blocks[key] = b
		return nil
	}
	s.blocks[key] = nil // who takes a block may keep it
	return s.emit(key, b)
}

func (s *shuffler) flush() error {
	for key, b := range s.blocks {
		if len(b) > 0 {
			if err := s.emit(key, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func newShuffler(events bool, emit func(int64, []byte) error) *shuffler {
	return &shuffler{blocks: map[int64][]byte{}, events: events, emit: emit}
}

// Events reads a section and hands on its events as blocks by shard. The counts
// have what was read and what is no event of the source; the rest is for Answer
// to say. Rejected may be nil.
func (p *Pieces) Events(ctx context.Context, plan *features.Plan, s Section, rejected func(*features.Event, error), emit func(shard int64, block []byte) error) (Counts, error) {
	in := &input{path: p.Files.Events, plan: plan, rejected: rejected, reasons: map[string]int64{}, arrivals: p.Arrivals}
	read, done, err := p.section(ctx, in, s)
	if err != nil {
		return Counts{}, err
	}
	defer done()
	out := newShuffler(true, emit)
	c := Counts{Rejected: map[string]int64{}}
	var key []byte
	for e, err := range read {
		if err != nil {
			return c, err
		}
		if c.Events%reportEvery == 0 && ctx.Err() != nil {
			return c, ctx.Err()
		}
		c.Events++
		if key, err = plan.AppendEntity(key[:0], e.Values); err != nil {
			var r *features.Rejection
			if errors.As(err, &r) {
				c.Rejected[r.Reason]++
			}
			in.reject(e, err)
			continue
		}
		shard := streams.PartitionOf(key, plan.Source.Partitions)
		if in.line == 0 && in.partition != shard {
			return c, fmt.Errorf("offline: the lake has entity %q in partition %d and not in %d, where its shard is: use millrace dataset build", key, in.partition, shard)
		}
		b := out.begin(int64(shard), uint64(e.Order))
		if err := out.put(int64(shard), appendEvent(b, e)); err != nil {
			return c, err
		}
	}
	for reason, n := range in.reasons {
		c.Rejected[reason] += n
		c.Events += n
	}
	return c, out.flush()
}

// section returns the events of a section.
func (p *Pieces) section(ctx context.Context, in *input, s Section) (events iter.Seq2[*features.Event, error], done func(), err error) {
	if s.Lake != nil {
		stretch, err := lake.OpenStretch(in.path, in.plan.Source, *s.Lake)
		if err != nil {
			return nil, nil, fmt.Errorf("offline: %w", err)
		}
		return in.fromRows(stretch.Events(ctx)), func() {}, nil
	}
	format, err := textFormat(in.path)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(in.path)
	if err != nil {
		return nil, nil, fmt.Errorf("offline: events: %w", err)
	}
	text := io.Reader(io.NewSectionReader(f, s.Offset, s.Bytes))
	before := s.Lines
	if s.Offset > 0 { // a byte order mark is one at the beginning of the file alone
		text, before = io.MultiReader(strings.NewReader("\n"), text), before-1
	}
	return fromLines(in, text, before, format), func() { f.Close() }, nil
}

// ProbeBlocks reads the probes and hands them on as blocks by shard.
func (p *Pieces) ProbeBlocks(ctx context.Context, plan *features.Plan, emit func(shard int64, block []byte) error) error {
	out := newShuffler(false, emit)
	place := uint64(0)
	_, err := scanProbes(ctx, p.Files.Probes, plan, p.Files.KnownByArrival, func(probe Probe, cells []string) error {
		shard := int64(streams.PartitionOf([]byte(probe.Entity), plan.Source.Partitions))
		b := out.begin(shard, place)
		for _, cell := range cells {
			b = appendText(b, cell)
		}
		place++
		return out.put(shard, b)
	})
	if err != nil {
		return err
	}
	return out.flush()
}

// Answer makes the lines of a shard's probes from its events, and hands them on
// as blocks by page. The counts have what became of the events that Events has
// counted.
func (p *Pieces) Answer(ctx context.Context, plan *features.Plan, shard int64, events, probes [][]byte, rejected func(*features.Event, error), emit func(page int64, block []byte) error) (Counts, error) {
	file, places, err := p.probes(plan, probes)
	if err != nil {
		return Counts{}, err
	}
	o := Options{ExcludeCurrent: p.ExcludeCurrent, Rejected: func(e *features.Event, why error) {
		if !p.Lake {
			why = &LineError{p.Files.Events, int(e.Order), why}
		}
		if rejected != nil {
			rejected(e, why)
		}
	}}
	set, err := Build(ctx, plan, readEvents(plan, events), func(*features.Event, []byte) int { return int(shard) }, file.probes, o)
	if err != nil {
		return Counts{}, err
	}
	out := newShuffler(false, emit)
	w := newWriter(p.Files.Out, plan, file)
	for i, place := range places {
		page := int64(place) / p.PageProbes
		line := w.probe(i, set)
		if err := out.put(page, appendText(out.begin(page, place), string(line))); err != nil {
			return Counts{}, err
		}
	}
	set.Counts.Events = 0
	return set.Counts, out.flush()
}

// probes reads blocks of probes.
func (p *Pieces) probes(plan *features.Plan, blocks [][]byte) (f *probeFile, places []uint64, err error) {
	format, err := textFormat(p.Files.Probes)
	if err != nil {
		return nil, nil, err
	}
	f = &probeFile{path: p.Files.Probes, json: format == "json", columns: p.Columns}
	parser, err := newProbeParser(f, plan, p.Files.KnownByArrival)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blocks {
		for r := (wireReader{b: b}); len(r.b) > 0; {
			places = append(places, r.uvarint())
			at := len(f.cells)
			for range f.columns {
				f.cells = append(f.cells, r.text())
			}
			if r.bad {
				return nil, nil, errCut
			}
			probe, err := parser.parse(f.cells[at:])
			if err != nil {
				return nil, nil, err
			}
			f.probes = append(f.probes, probe)
		}
	}
	return f, places, nil
}

// readEvents reads blocks of one shard's events in the order of the log.
func readEvents(plan *features.Plan, blocks [][]byte) iter.Seq2[*features.Event, error] {
	return func(yield func(*features.Event, error) bool) {
		blocks = slices.Clone(blocks)
		for _, b := range blocks {
			if len(b) < 8 {
				yield(nil, errCut)
				return
			}
		}
		slices.SortFunc(blocks, func(a, b []byte) int { return bytes.Compare(a[:8], b[:8]) })
		e := &features.Event{Values: make([]features.Value, len(plan.Fields()))}
		last := features.Order(0)
		for _, b := range blocks {
			for r := (wireReader{b: b[8:]}); len(r.b) > 0; {
				r.event(e)
				if r.bad || e.Order < last {
					yield(nil, errCut)
					return
				}
				last = e.Order
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

var errCut = errors.New("offline: a block is cut or there twice: the runner does not keep what it is given")
