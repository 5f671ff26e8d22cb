package offline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams/lake"
)

// Pieces is BuildFiles cut into work for many processes, all of which reach the
// files: sections of the events become blocks by shard (Events), and so do the
// probes (ProbeBlocks); a shard's blocks become lines of the dataset (Answer),
// which are written by pages (WritePage) and put together (Finish). Whoever runs
// it moves the blocks, in any order. The dataset is that of BuildFiles, byte for
// byte.
//
// It travels as JSON, without the plan.
type Pieces struct {
	Files          Files
	ExcludeCurrent bool

	Columns  []string // of the probes
	Probes   int64    // how many there are
	Arrivals bool     // some probe asks when events arrived
	Lake     bool     // the events are in a lake

	SectionBytes int64 // of JSON that are read together, about
	PageProbes   int64 // lines that are written together
}

// The sizes of pieces: each is about a second of work and some ten MB of memory.
const (
	sectionBytes = 16 << 20
	pageProbes   = 100_000
	blockBytes   = 256 << 10
)

// NewPieces checks the files and reads the probes once.
func NewPieces(ctx context.Context, plan *features.Plan, f Files, excludeCurrent bool) (*Pieces, error) {
	if _, err := eventsOf(f.Events, plan); err != nil {
		return nil, err
	}
	if _, err := textFormat(f.Out); err != nil {
		return nil, err
	}
	p := &Pieces{Files: f, ExcludeCurrent: excludeCurrent, SectionBytes: sectionBytes, PageProbes: pageProbes}
	probes, err := scanProbes(ctx, f.Probes, plan, f.KnownByArrival, func(probe Probe, _ []string) error {
		p.Probes++
		p.Arrivals = p.Arrivals || probe.KnownBy != features.AnyArrival
		return nil
	})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(f.Events)
	if err != nil {
		return nil, fmt.Errorf("offline: events: %w", err)
	}
	p.Columns, p.Lake = probes.columns, info.IsDir()
	return p, nil
}

// A Section is events that are read together: of a file, or of the lake.
type Section struct {
	Lines  int   // of the file before it
	Offset int64 // its first byte in the file
	Bytes  int64
	Lake   *lake.Range // nil: it is of a file
}

// Sections cuts the events into sections. A CSV file is one: where its lines end
// knows only who has read it from the start.
func (p *Pieces) Sections(ctx context.Context, plan *features.Plan, emit func(Section) error) error {
	if p.Lake {
		return p.lakeSections(plan, emit)
	}
	format, err := textFormat(p.Files.Events)
	if err != nil {
		return err
	}
	f, err := os.Open(p.Files.Events)
	if err != nil {
		return fmt.Errorf("offline: events: %w", err)
	}
	defer f.Close()
	if format == "csv" {
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("offline: events: %w", err)
		}
		return emit(Section{Bytes: info.Size()})
	}
	if err := cutLines(ctx, f, p.SectionBytes, emit); err != nil {
		return fmt.Errorf("offline: %s: %w", p.Files.Events, err)
	}
	return nil
}

// cutLines cuts a file behind the first line break at or after size bytes.
func cutLines(ctx context.Context, f io.Reader, size int64, emit func(Section) error) error {
	var s Section
	lines := 0 // up to here
	flush := func() error {
		if s.Bytes == 0 {
			return nil
		}
		err := emit(s)
		s = Section{Lines: lines, Offset: s.Offset + s.Bytes}
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		for part := buf[:n]; len(part) > 0; {
			i := bytes.IndexByte(part, '\n')
			if i < 0 {
				s.Bytes += int64(len(part))
				break
			}
			lines++
			s.Bytes += int64(i + 1)
			part = part[i+1:]
			if s.Bytes >= size {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}

// lakeSections makes a section of each file of the lake.
func (p *Pieces) lakeSections(plan *features.Plan, emit func(Section) error) error {
	src := plan.Source
	for partition := range src.Partitions + 1 {
		tail, err := lake.Tail(p.Files.Events, src.Name, partition)
		if err != nil {
			return fmt.Errorf("offline: %w", err)
		}
		if partition == src.Partitions && tail > 0 {
			return fmt.Errorf("offline: the lake in %s has more partitions of source %q than %d", p.Files.Events, src.Name, partition)
		}
		s, err := lake.OpenStretch(p.Files.Events, src, lake.Range{Partition: partition, Next: tail})
		if err != nil {
			return fmt.Errorf("offline: %w", err)
		}
		for _, h := range s.Headers {
			if err := emit(Section{Lake: &h.Range}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Add adds what another piece has counted.
func (c *Counts) Add(o Counts) {
	c.Events += o.Events
	c.Dropped += o.Dropped
	c.Duplicates += o.Duplicates
	for reason, n := range o.Rejected {
		if c.Rejected == nil {
			c.Rejected = map[string]int64{}
		}
		c.Rejected[reason] += n
	}
}
