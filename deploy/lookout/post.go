package lookout

import (
	"math"
	"time"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
)

// A post is the lookout over one model.
type post struct {
	name     string
	config   monitor.Config
	fleet    *monitor.Fleet
	versions map[int]version

	settle int64 // microseconds that a unit waits, after its end, for predictions that are on their way
	late   int64
	recent recent
}

type version struct {
	cutoff int64
	ok     bool
}

func newPost(m Model) (*post, error) {
	p := &post{
		name: m.Name, config: m.Config, versions: map[int]version{},
		settle: min(maxSettle, m.Config.Every/2).Microseconds(),
	}
	m.Version = func(number int) (int64, bool) { v := p.versions[number]; return v.cutoff, v.ok }
	var err error
	p.fleet, err = monitor.New(m.Config, m.Model)
	return p, err
}

// maxSettle is for how long a unit waits, at most. A prediction is in the log
// within seconds of its time; only one from the spool comes later.
const maxSettle = time.Minute

func (p *post) knows(number int) bool { _, ok := p.versions[number]; return ok }

func (p *post) learn(number int, cutoff int64, ok bool) { p.versions[number] = version{cutoff, ok} }

// predicted takes in a prediction, which is late if its unit had ended by the
// clock of its own partition: wherever the others are, so that it is late whenever
// the log is read, or never.
func (p *post) predicted(x *feedback.Prediction, clock int64) {
	switch {
	case p.recent.had(x.ID):
	case clock != never && p.unitEnd(x.Time) <= p.looked(clock):
		p.late++
	default:
		p.fleet.Predicted(x)
	}
}

// unitEnd returns the end of the unit that a time is in.
func (p *post) unitEnd(t int64) int64 {
	every := p.config.Every.Microseconds()
	into := t % every
	if into < 0 {
		into += every
	}
	return t - into + every
}

// looked returns up to when all units have ended at a time of the clock.
func (p *post) looked(clock int64) int64 { return clock - p.settle }

const never = math.MinInt64

// A clock is the newest time of each partition of a topic.
type clock []int64

func (c *clock) set(partition int, t int64) {
	for len(*c) <= partition {
		*c = append(*c, never)
	}
	(*c)[partition] = max((*c)[partition], t)
}

func (c clock) at(partition int) int64 {
	if partition < len(c) {
		return c[partition]
	}
	return never
}

// least returns the time that all partitions have come to.
func (c clock) least(partitions int) int64 {
	if partitions == 0 || len(c) < partitions {
		return never
	}
	least := c[0]
	for _, t := range c {
		least = min(least, t)
	}
	return least
}

// recent remembers the ids of the newest predictions: what a writer or a caller has
// sent twice is there twice.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

// maxRecent is how many ids are remembered. Repeats come within a minute.
const maxRecent = 1 << 16

// had reports whether an id is remembered, and remembers it.
func (r *recent) had(id string) bool {
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	if _, ok := r.ids[id]; ok {
		return true
	}
	r.ids[id] = struct{}{}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, id)
		return false
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % maxRecent
	return false
}
