package pipeline

import (
	"time"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// A Tracer is told what became of traced records, once it is committed. It is
// called by the goroutines of shards and must not hold them up.
type Tracer interface {
	// Applied tells of records that can be read now.
	Applied(Applied)
	// Follows reports whether what becomes of a prediction is traced whatever
	// record it comes from.
	Follows(model, prediction string) bool
	// Joined tells of an example.
	Joined(Joined)
}

// maxTraced is how many spans one commit has at most; what is beyond is not told
// to the Tracer. A trace is of a few records, and a commit of up to 200,000.
const maxTraced = 128

// Applied is the records of one trace that one commit of a view has.
type Applied struct {
	Trace            streams.TraceContext
	View, Topic      string
	Partition        int
	First            int64 // offset of the first of them
	Records          int
	Begun, Committed time.Time
}

// Joined is an example that was made of a record, or of a tick.
type Joined struct {
	Cause            streams.TraceContext // of the record; zero: it is not traced
	Model            string
	Prediction       string // its id
	Version          int    // that answered
	Kind             feedback.ExampleKind
	Correction       bool
	Topic            string // of the record
	Partition        int
	Offset           int64
	Begun, Committed time.Time
}

// note remembers a traced record until its commit. Neighbours of one trace are
// one: they are the events of one request.
func (p *processor) note(rec *streams.Record) {
	trace, ok := rec.Traced()
	if !ok {
		return
	}
	for i := range p.traced {
		if p.traced[i].Trace == trace {
			p.traced[i].Records++
			return
		}
	}
	if len(p.traced) < maxTraced {
		p.traced = append(p.traced, Applied{Trace: trace, View: p.plan.View.Name, Topic: p.topic, Partition: p.shard.Index, First: rec.Offset, Records: 1, Begun: time.Now()})
	}
}

// tell tells the tracer what a commit has.
func (p *processor) tell(at time.Time) {
	for i := range p.traced {
		p.traced[i].Committed = at
		p.host.cfg.Tracer.Applied(p.traced[i])
	}
	p.traced = p.traced[:0]
}

// note remembers an example until its commit, if its prediction is traced or the
// record that it comes from.
func (j *joiner) note(e *feedback.Example) {
	p := &e.Prediction
	if len(j.traced) == maxTraced || j.cause == (streams.TraceContext{}) && !j.host.cfg.Tracer.Follows(p.Model, p.ID) {
		return
	}
	j.traced = append(j.traced, Joined{
		Cause: j.cause, Model: p.Model, Prediction: p.ID, Version: p.Score.Version, Kind: e.Kind, Correction: e.Correction,
		Topic: j.topic, Partition: j.shard.Index, Offset: j.offset, Begun: time.Now(),
	})
}

// tell tells the tracer what a commit has.
func (j *joiner) tell() {
	now := time.Now()
	for i := range j.traced {
		j.traced[i].Committed = now
		j.host.cfg.Tracer.Joined(j.traced[i])
	}
	j.traced = j.traced[:0]
}
