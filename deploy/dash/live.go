package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
)

const (
	// freshFor is how old figures may be that are shown: nobody, however many
	// look, makes the server count more often.
	freshFor = time.Second

	// rateOver is over how long rates are means, and rateUntil what is too old for
	// one: nobody has looked for that long.
	rateOver  = 10 * time.Second
	rateUntil = time.Minute

	// sampleWait is for how long the store may take to count.
	sampleWait = 2 * time.Second
)

// A state is what the overview shows of the moment, ready to be shown: the texts
// of the picture by their name, and how they stand: bad, warn, wait or empty.
// Revision changes when something else on the pages does.
type state struct {
	Revision string            `json:"revision"`
	Figures  map[string]string `json:"figures"`
	Levels   map[string]string `json:"levels"`
}

// totals are what rates are taken of.
type totals struct {
	at                              time.Time
	events                          int64
	predictions, outcomes, examples int64
}

// live keeps the newest state, and the totals before it.
type live struct {
	mu      sync.Mutex
	state   state
	message []byte // the state as JSON
	past    []totals
}

// now returns the state of this moment, at most freshFor old. Whoever asks first
// counts, and others wait for it.
func (d *Dash) now(ctx context.Context) (state, []byte) {
	l := &d.live
	l.mu.Lock()
	defer l.mu.Unlock()
	now := d.cfg.Now()
	if n := len(l.past); n > 0 {
		if age := now.Sub(l.past[n-1].at); age >= 0 && age < d.fresh {
			return l.state, l.message
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sampleWait)
	defer cancel()
	s := state{Figures: make(map[string]string), Levels: make(map[string]string)}
	t := totals{at: now}
	d.countEvents(&s, &t)
	joined := d.countJoin(ctx, &s, &t)
	past := keepPast(l.past, now)
	d.rates(&s, past, &t, joined)
	d.countModels(ctx, &s)
	d.countAlarms(ctx, &s)
	l.past = append(past, t)
	l.state = s
	l.message, _ = json.Marshal(s) // texts: it cannot fail
	return l.state, l.message
}

// keepPast drops what no rate is taken of any more.
func keepPast(past []totals, now time.Time) []totals {
	for len(past) > 1 && now.Sub(past[1].at) >= rateOver {
		past = past[1:]
	}
	if len(past) > 0 {
		if age := now.Sub(past[len(past)-1].at); age < 0 || age > rateUntil {
			return nil
		}
	}
	return append([]totals(nil), past...)
}

// countEvents takes the figures of the pipeline's shards. A source's events are
// those that most views have read.
func (d *Dash) countEvents(s *state, t *totals) {
	s.set("features", plural(d.features(), "feature"), plural(len(d.cfg.Project.Views), "view"))
	if d.cfg.Status == nil {
		s.set("events", none, "read elsewhere")
		return
	}
	var lag, stopped, dead int64
	newest := int64(math.MinInt64)
	read := make(map[string]int64) // by view
	for _, x := range d.cfg.Status() {
		lag += max(0, x.Lag)
		dead += x.Dead
		if !x.Running {
			stopped++
		}
		newest = max(newest, x.Newest)
		if x.Stage == "pipeline" {
			read[x.View] += x.Applied + x.Dropped + x.Duplicates + x.Dead
		}
	}
	sources := make(map[string]int64)
	for _, v := range d.cfg.Project.Views {
		sources[v.Source] = max(sources[v.Source], read[v.Name])
	}
	for _, n := range sources {
		t.events += n
	}
	s.set("events", none, count(t.events)+" read")
	s.Figures["features.sub"] = "all applied"
	if lag > 0 {
		s.Figures["features.sub"] = count(lag) + " behind"
	}
	s.Figures["lag"] = plural(lag, "record")
	s.Figures["newest"] = none
	if newest != math.MinInt64 {
		s.Figures["newest"] = micros(newest).Format("2006-01-02 15:04:05")
	}
	s.Figures["dead"] = count(dead)
	if stopped > 0 {
		s.Levels["features"] = "bad"
		s.Figures["features.sub"] = plural(stopped, "shard") + " not at work"
	}
	if dead > 0 {
		s.Levels["dead"] = "warn"
	}
}

// features counts the features of all views.
func (d *Dash) features() int {
	n := 0
	for _, p := range d.cfg.Project.Plans {
		n += len(p.Outputs())
	}
	return n
}

// countJoin takes the figures of predictions and outcomes.
func (d *Dash) countJoin(ctx context.Context, s *state, t *totals) (ok bool) {
	for _, key := range []string{"predictions", "outcomes", "examples"} {
		s.set(key, none, "")
	}
	if d.cfg.JoinStats == nil {
		return false
	}
	var j feedback.Stats
	j, err := d.cfg.JoinStats(ctx)
	if err != nil {
		s.Levels["predictions"] = "bad"
		s.Figures["predictions.sub"] = "store not readable"
		return false
	}
	t.predictions, t.outcomes, t.examples = j.Predictions.Total, j.Outcomes.Total, j.Predictions.Matched
	s.Figures["predictions.sub"] = count(j.Predictions.Pending) + " open"
	s.Figures["outcomes.sub"] = count(t.outcomes) + " in all"
	s.Figures["examples.sub"] = count(t.examples) + " in all"
	s.Figures["open"] = count(j.Predictions.Pending)
	s.Figures["unanswered"] = count(j.Predictions.Unanswered)
	return true
}

// rates says how much there is of things in a second, of what has been counted
// before.
func (d *Dash) rates(s *state, past []totals, t *totals, joined bool) {
	if len(past) == 0 {
		return
	}
	seconds := t.at.Sub(past[0].at).Seconds()
	of := func(now, then int64) string {
		if now < then {
			return none
		}
		return rate(float64(now-then) / seconds)
	}
	if d.cfg.Status != nil {
		s.Figures["events.main"] = of(t.events, past[0].events)
	}
	if joined && past[0].predictions+t.predictions >= 0 {
		s.Figures["predictions.main"] = of(t.predictions, past[0].predictions)
		s.Figures["outcomes.main"] = of(t.outcomes, past[0].outcomes)
		s.Figures["examples.main"] = of(t.examples, past[0].examples)
	}
}

// countModels takes the figures of versions and what serves.
func (d *Dash) countModels(ctx context.Context, s *state) {
	for _, key := range []string{"training", "gate", "review", "rollout", "serving"} {
		s.set(key, none, "")
	}
	if d.cfg.Registry == nil {
		return
	}
	if err := d.countVersions(ctx, s); err != nil {
		s.Levels["training"] = "bad"
		s.Figures["training.sub"] = "registry not readable"
	}
}

func (d *Dash) countVersions(ctx context.Context, s *state) error {
	r := d.cfg.Registry
	byModel, err := r.States(ctx)
	if err != nil {
		return err
	}
	in := make(map[registry.State]int)
	versions := 0
	for _, states := range byModel {
		for state, n := range states {
			in[state] += n
			versions += n
		}
	}
	seq, err := r.Newest(ctx)
	if err != nil {
		return err
	}
	s.Revision = strconv.FormatInt(seq, 10)
	s.set("training", plural(versions, "version"), "none yet")
	s.set("gate", count(in[registry.Judging])+" judging", "no verdict yet")
	s.set("review", count(in[registry.Review])+" waiting", "for a person")
	s.set("rollout", count(in[registry.Shadow]+in[registry.Approved])+" under way", "")
	models := len(d.cfg.Project.Models)
	s.set("serving", fmt.Sprintf("%d of %d", in[registry.Champion], models), "others: base rate")
	switch {
	case in[registry.Champion] == 0 && models > 0:
		s.set("serving", "base rate", "no champion yet")
	case models == 0:
		s.set("serving", none, "no models")
	case in[registry.Champion] >= models:
		s.set("serving", plural(in[registry.Champion], "champion"), "")
	}
	if in[registry.Review] > 0 {
		s.Levels["review"] = "wait"
	} else {
		s.Figures["review.sub"] = ""
	}
	return d.lastSteps(ctx, s)
}

// countAlarms takes the figures of alarms, and when the monitors looked last.
func (d *Dash) countAlarms(ctx context.Context, s *state) {
	s.Figures["alarms"] = ""
	if d.cfg.Alarms != nil {
		c, err := d.cfg.Alarms.Count(ctx)
		if err != nil {
			d.cfg.Log.Warn("alarms cannot be counted", "error", err)
			return
		}
		if c.Open > 0 {
			s.Figures["alarms"] = count(c.Open)
		}
		s.Revision += fmt.Sprintf(".%d.%d.%d.%d", c.Open, c.Unacknowledged, c.Held, c.Undelivered)
	}
	if d.cfg.Lookout == nil {
		return
	}
	looked := int64(0)
	for _, name := range d.cfg.Lookout.Models() {
		d.cfg.Lookout.View(name, func(f *monitor.Fleet) { looked += f.Counts().Clock / time.Second.Microseconds() })
	}
	s.Revision += "." + strconv.FormatInt(looked, 10)
}

// openAlarms is how many alarms are open, for the navigation.
func (d *Dash) openAlarms(ctx context.Context) string {
	if d.cfg.Alarms == nil {
		return ""
	}
	if c, err := d.cfg.Alarms.Count(ctx); err == nil && c.Open > 0 {
		return count(c.Open)
	}
	return ""
}

// lastSteps says what the loop did last.
func (d *Dash) lastSteps(ctx context.Context, s *state) error {
	for key, what := range map[string][]string{
		"training": {string(registry.Trained), string(registry.Stopped), string(registry.Failed)},
		"gate":     {string(registry.Review), string(registry.Closed), string(registry.Superseded)},
		"rollout":  {string(registry.Champion), string(registry.RolledBack)},
	} {
		events, err := d.cfg.Registry.Events(ctx, registry.EventFilter{What: what, Limit: 1})
		if err != nil {
			return err
		}
		if len(events) == 0 {
			continue
		}
		e := &events[0]
		s.Figures[key+".sub"] = stepWords[e.What] + " " + roughly(d.cfg.Now().Sub(e.Time))
		if e.What == string(registry.Failed) {
			s.Levels[key] = "bad"
		}
	}
	return nil
}

// roughly is how long ago something was, to the minute: what changes each second
// would be sent each second.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return "just now"
	}
	return duration(d) + " ago"
}

// stepWords are the events of the history, where there is little room.
var stepWords = map[string]string{
	"trained": "last", "stopped": "stopped", "failed": "failed",
	"review": "promoted", "closed": "closed", "superseded": "superseded",
	"champion": "switched", "rolled_back": "rolled back",
}

func (s *state) set(key, main, sub string) {
	s.Figures[key+".main"], s.Figures[key+".sub"] = main, sub
}
