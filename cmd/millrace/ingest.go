package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams/codec"
)

// Of one request: what its events take is what has to be sent again when it
// fails half-way.
const (
	batchEvents  = 5000
	batchBytes   = 512 << 10
	batchTimeout = time.Minute // the server tries its log for 10 s, and the client the server
)

// shownBad is how many of the lines that are no events are shown.
const shownBad = 20

type ingestCmd struct {
	projectFlag
	serverFlag
	File     string `arg:"" placeholder:"FILE" help:"A file of events: JSON, one object a line, or CSV with a header line. - is stdin."`
	Source   string `short:"s" placeholder:"SOURCE" help:"The source that they are events of. Without it, the only one of the project."`
	Format   string `enum:"json,csv," default:"" placeholder:"json|csv" help:"What FILE is. Without it, what its name ends with says so: .csv is CSV, all else JSON."`
	FromLine int    `default:"1" placeholder:"N" help:"Begin with this line of FILE, to go on where an earlier call stopped."`
	JSON     bool   `help:"Print a JSON object: {\"events\", \"bad_lines\", \"seconds\", \"positions\": the last one of each partition}."`
}

func (ingestCmd) Help() string {
	return `Sends the events of a file to a running server ("millrace run" or "serve") and returns when the log has them all.

A line that is not an event of the source is left out: it is reported with its number and counted, the others go in, and the exit status at the end is 1. When the server cannot take more, the last line that is in the log is named, and --from-line goes on behind it. An event whose request failed half-way may then come twice; a source with id and dedup counts it once.

Examples:

	millrace ingest orders.jsonl
	millrace ingest --source prices stocks.csv
	zcat orders.jsonl.gz | millrace ingest -`
}

func (c *ingestCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	src, err := chooseSource(p, c.Source)
	if err != nil {
		return err
	}
	in, size, err := openInput(a, c.File)
	if err != nil {
		return err
	}
	defer in.Close()
	server, err := c.client(p)
	if err != nil {
		return err
	}
	defer server.Close()
	counted := &countingReader{r: in}
	s := &sender{
		app: a, server: server, source: src.Name, file: c.File, read: counted,
		maxBody: p.HTTP.MaxBodyBytes, asIs: src.Format == "json", progress: newProgress(a.stderr, size), last: map[place]int64{},
	}
	src.Format = "json" // the server makes of it what the topic holds
	if s.key, err = features.NewSourceKey(src); err != nil {
		return err
	}
	for line, err := range codec.Lines(counted, src, fileFormat(c.Format, c.File)) {
		if err = s.add(ctx, line, err, c.FromLine); err != nil {
			return s.stopped(err)
		}
	}
	if err := s.send(ctx); err != nil {
		return s.stopped(err)
	}
	return s.finish(c.JSON)
}

// chooseSource returns the source of that name, or the only one.
func chooseSource(p *project.Project, name string) (features.Source, error) {
	if name == "" && len(p.Sources) == 1 {
		return p.Sources[0], nil
	}
	if s := p.Source(name); s != nil {
		return *s, nil
	}
	var names []string
	for _, s := range p.Sources {
		names = append(names, s.Name)
	}
	if name == "" {
		return features.Source{}, usagef("the project has the sources %s: choose one with --source", strings.Join(names, ", "))
	}
	return features.Source{}, usagef("there is no source %q; the project has %s", name, strings.Join(names, ", "))
}

// openInput opens a file, - being stdin, and returns its size, 0 if unknown.
func openInput(a *app, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, usageError{err}
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = usagef("%s is a folder; name a file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// fileFormat is what codec.Lines calls the format of a file.
func fileFormat(format, name string) string {
	if format == "" && strings.EqualFold(filepath.Ext(name), ".csv") {
		return "csv"
	}
	return cmp.Or(format, "json")
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// A sender sends the events of one file.
type sender struct {
	*app
	server   *client.Client
	source   string
	file     string
	read     *countingReader
	maxBody  int64
	asIs     bool // the topic holds an event as it is sent
	progress *progress
	key      *features.SourceKey

	batch      []any // of json.RawMessage
	lines      []int // of the file, on which those begin
	bytes      int
	sent       int64
	acked      int // the last line that is in the log
	bad        int64
	last       map[place]int64 // the last offset by partition
	keyScratch []byte
}

type place struct {
	topic     string
	partition int
}

// add takes one line, and sends a batch when it is full.
func (s *sender) add(ctx context.Context, line codec.Line, err error, from int) error {
	var bad *codec.LineError
	switch {
	case errors.As(err, &bad):
		if bad.Number >= from {
			s.refuse(bad.Number, bad.Err)
		}
		return nil
	case err != nil:
		return err
	case line.Number < from:
		return nil
	}
	if s.keyScratch, err = s.key.Append(s.keyScratch[:0], line.Event.Values); err != nil {
		s.refuse(line.Number, err)
		return nil
	}
	var value bytes.Buffer
	if err := json.Compact(&value, line.Value); err != nil { // as the client sends it
		return fmt.Errorf("line %d: %w", line.Number, err)
	}
	size := value.Len() + 1
	switch n := value.Len() + len(s.keyScratch); {
	case int64(size) > s.maxBody:
		s.refuse(line.Number, fmt.Errorf("%d bytes; the server takes %d in a request: see http.max_body", size, s.maxBody))
		return nil
	case s.asIs && n > serve.MaxEvent:
		s.refuse(line.Number, &codec.Error{Reason: codec.TooLarge, Problem: fmt.Sprintf("makes a record of %d bytes; at most %d are taken", n, serve.MaxEvent)})
		return nil
	}
	if len(s.batch) == batchEvents || len(s.batch) > 0 && s.bytes+size > int(min(batchBytes, s.maxBody)) {
		if err := s.send(ctx); err != nil {
			return err
		}
	}
	s.batch = append(s.batch, json.RawMessage(value.Bytes()))
	s.lines = append(s.lines, line.Number)
	s.bytes += size
	return nil
}

// refuse reports a line that is not an event.
func (s *sender) refuse(number int, why error) {
	s.bad++
	switch {
	case s.bad <= shownBad:
		s.progress.clear()
		fmt.Fprintf(s.stderr, "%s:%d: %s\n", s.file, number, strings.TrimPrefix(why.Error(), "codec: "))
	case s.bad == shownBad+1:
		s.progress.clear()
		fmt.Fprintln(s.stderr, "further lines that are not events are counted and not shown")
	}
}

// send sends the batch and waits until the log has it. Lines that the server
// refuses are left out: its project may say otherwise than ours, and what CSV
// an event makes is known there only. Each try has fewer of them.
func (s *sender) send(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	last := s.lines[len(s.lines)-1]
	for len(s.batch) > 0 {
		err := s.try(ctx)
		if err == nil {
			break
		}
		if !s.leaveOut(err) {
			return fmt.Errorf("lines %d to %d: %w", s.lines[0], last, err)
		}
	}
	s.acked = last
	s.sent += int64(len(s.batch))
	s.batch, s.lines, s.bytes = s.batch[:0], s.lines[:0], 0
	s.progress.show(s.sent, s.read.n)
	return nil
}

func (s *sender) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	positions, err := s.server.Ingest(ctx, s.source, s.batch...)
	for _, at := range positions {
		s.last[place{at.Topic, at.Partition}] = at.Offset
	}
	return err
}

// leaveOut takes the lines out of the batch that err says the server refused,
// and reports whether there are any.
func (s *sender) leaveOut(err error) bool {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Status != http.StatusBadRequest {
		return false
	}
	kept := 0
	bad := answer.Lines // in the order of the batch
	for i, event := range s.batch {
		if len(bad) > 0 && bad[0].Line == i+1 {
			s.refuse(s.lines[i], &codec.Error{Reason: bad[0].Reason, Field: bad[0].Field, Problem: bad[0].Problem})
			bad = bad[1:]
			continue
		}
		s.batch[kept], s.lines[kept] = event, s.lines[i]
		kept++
	}
	some := kept < len(s.batch)
	s.batch, s.lines = s.batch[:kept], s.lines[:kept]
	return some
}

// stopped says how far it came before err.
func (s *sender) stopped(err error) error {
	s.progress.clear()
	err = explain(err)
	if s.acked == 0 {
		return fmt.Errorf("ingest %s: nothing was acknowledged: %w", s.file, err)
	}
	return fmt.Errorf("ingest %s: stopped after %s, up to line %d; go on with --from-line %d: %w", s.file, count(s.sent, "event"), s.acked, s.acked+1, err)
}

// ingested is what came of a file, for machines.
type ingested struct {
	Events    int64    `json:"events"`
	BadLines  int64    `json:"bad_lines"`
	Seconds   float64  `json:"seconds"`
	Positions []string `json:"positions"` // the last one of each partition, as --at-least takes it
}

func (s *sender) finish(asJSON bool) error {
	s.progress.clear()
	took := time.Since(s.progress.start)
	if asJSON {
		if err := s.printJSON(ingested{s.sent, s.bad, took.Seconds(), s.positions()}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.stdout, "%s of source %s in the log, %s/s\n", count(s.sent, "event"), s.source, thousands(rate(s.sent, took)))
	}
	if s.bad > 0 {
		return fmt.Errorf("ingest %s: left out what is no event of source %s: %s", s.file, s.source, count(s.bad, "line"))
	}
	return nil
}

func (s *sender) positions() []string {
	out := []string{}
	for at, offset := range s.last {
		out = append(out, fmt.Sprintf("%s/%d/%d", at.topic, at.partition, offset))
	}
	slices.Sort(out)
	return out
}
