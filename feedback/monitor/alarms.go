package monitor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// overBelow is the part of its threshold below which a monitor's alarm is over.
const overBelow = 0.9

// A ledger keeps the alarms that are not over, at most one for each monitor.
type ledger struct {
	model string
	every time.Duration
	open  map[monitorName]*raised
	news  []Alarm // since take, each alarm once, as it was when there last was news of it
}

type monitorName struct {
	kind   Kind
	column string
}

type raised struct {
	Alarm
	severity float64 // of Worst
}

// severity is a monitor's value over its threshold, of a deviation in logarithms:
// above 1 is an alarm.
func (r *Reading) severity() float64 {
	switch {
	case r.Kind == QualityMonitor && r.State == Alarmed:
		return 1 + r.Value
	case r.Kind == QualityMonitor:
		return 0
	case r.Kind == DriftMonitor:
		return r.Value / r.Threshold
	case r.Value >= 1:
		return math.Log(r.Value) / math.Log(r.Threshold)
	case r.Lower == 0:
		return 0
	}
	return math.Log(r.Value) / math.Log(r.Lower)
}

// judge follows one monitor: r is how it stands at a look. text makes an alarm's
// text, once it is to be told.
func (a *ledger) judge(r Reading, column string, look int64, version int, text func(*Alarm) string) {
	key := monitorName{r.Kind, column}
	was := a.open[key]
	switch {
	case r.State == Alarmed && was == nil:
		was = &raised{severity: r.severity(), Alarm: Alarm{
			ID:    strings.Join([]string{a.model, string(r.Kind), column, time.UnixMicro(look).UTC().Format(time.RFC3339)}, "/"),
			Model: a.model, Kind: r.Kind, Column: column, Version: version, Onset: look,
			Value: r.Value, Worst: r.Value, Threshold: r.Threshold,
		}}
		if r.Kind == StdMonitor && r.Value < 1 {
			was.Threshold = r.Lower
		}
		a.open[key] = was
	case was == nil || r.State == TooFew:
		return
	case r.State == Alarmed:
		was.Value = r.Value
		severity := r.severity()
		if severity <= was.severity {
			return
		}
		was.severity, was.Worst = severity, r.Value
	case r.State == NoReference || r.severity() < overBelow:
		was.Over = look
		delete(a.open, key)
	default:
		return
	}
	was.Text = text(&was.Alarm)
	if i := slices.IndexFunc(a.news, func(n Alarm) bool { return n.ID == was.ID }); i >= 0 {
		a.news[i] = was.Alarm
	} else {
		a.news = append(a.news, was.Alarm)
	}
}

// take returns the news since the last call.
func (a *ledger) take() []Alarm {
	list := a.news
	a.news = nil
	return list
}

// list returns the alarms that are not over, by onset.
func (a *ledger) list() []Alarm {
	list := make([]Alarm, 0, len(a.open))
	for _, r := range a.open {
		list = append(list, r.Alarm)
	}
	slices.SortFunc(list, func(x, y Alarm) int { return cmp.Or(cmp.Compare(x.Onset, y.Onset), cmp.Compare(x.ID, y.ID)) })
	return list
}

// when writes a time as a day where units are days.
func (a *ledger) when(t int64) string {
	at := time.UnixMicro(t).UTC()
	if a.every%(24*time.Hour) == 0 {
		return at.Format(time.DateOnly)
	}
	return at.Format("2006-01-02 15:04:05")
}

// short writes a number with three digits.
func short(x float64) string {
	if a := math.Abs(x); a >= 1000 && a < 1e9 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// threshold writes what an alarm is beyond. One without an end cannot be exceeded:
// it stands for none that would keep to the stated rate.
func threshold(x float64) string {
	if !isNumber(x) {
		return "no value that keeps to the stated rate"
	}
	return short(x)
}

// length writes a duration in the greatest units that it is a whole number of.
func length(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.of && d%unit.of == 0 {
			return fmt.Sprintf("%d%s", d/unit.of, unit.name)
		}
	}
	return d.String()
}

func (f *Fleet) stdText(a *Alarm, now, reference float64) string {
	windows := fmt.Sprintf("of its means of %s over %s", length(f.config.Every), length(f.config.Window))
	if a.Over != 0 {
		return fmt.Sprintf("%s: the deviation %s was up to %s times that over the %s before (alarm at %s), since %s, until %s",
			a.Column, windows, short(a.Worst), length(f.config.Reference), threshold(a.Threshold), f.alarms.when(a.Onset), f.alarms.when(a.Over))
	}
	return fmt.Sprintf("%s: the deviation %s is %s times that over the %s before (%s against %s; alarm at %s), since %s",
		a.Column, windows, short(a.Value), length(f.config.Reference), short(now), short(reference), threshold(a.Threshold), f.alarms.when(a.Onset))
}

var distanceNames = map[Distance]string{JensenShannon: "Jensen-Shannon divergence", LInfinity: "L-infinity distance", PSI: "population stability index", KS: "Kolmogorov-Smirnov distance"}

func (f *Fleet) driftText(a *Alarm, with string, cells []Cell, others string) string {
	if a.Over != 0 {
		return fmt.Sprintf("%s: its distribution over %s was not that of %s: %s up to %s (alarm above %s), since %s, until %s",
			a.Column, length(f.config.Window), with, distanceNames[f.config.Distance], short(a.Worst), threshold(a.Threshold), f.alarms.when(a.Onset), f.alarms.when(a.Over))
	}
	return fmt.Sprintf("%s: its distribution over %s is not that of %s: %s %s (alarm above %s), most of all %s, since %s",
		a.Column, length(f.config.Window), with, distanceNames[f.config.Distance], short(a.Value), threshold(a.Threshold), mostMoved(cells, others), f.alarms.when(a.Onset))
}

// mostMoved says which cell's share has changed the most. Others is a text of the
// cell for all others; empty: none is known.
func mostMoved(cells []Cell, others string) string {
	var most Cell
	for _, c := range cells {
		if math.Abs(c.Now-c.Reference) > math.Abs(most.Now-most.Reference) {
			most = c
		}
	}
	name := most.name()
	if most.Text == othersText && others != "" {
		name += ", as " + strconv.Quote(others)
	}
	return fmt.Sprintf("%s (%s now, %s then)", name, percent(most.Now), percent(most.Reference))
}

// name says in words which values a cell has.
func (c *Cell) name() string {
	switch {
	case c.Text == missingText:
		return "missing values"
	case c.Text == othersText:
		return "texts that are rare or new"
	case c.Text != "":
		return strconv.Quote(c.Text)
	case math.IsInf(c.Low, -1) && math.IsInf(c.High, 1):
		return "values"
	}
	low, from := justBelow(c.Low)
	high, below := justBelow(c.High)
	switch {
	case math.IsInf(c.Low, -1) && below:
		return "values below " + short(high)
	case math.IsInf(c.Low, -1):
		return "values up to " + short(high)
	case math.IsInf(c.High, 1) && from:
		return "values of " + short(low) + " or more"
	case math.IsInf(c.High, 1):
		return "values above " + short(low)
	case math.Nextafter(c.Low, c.High) == c.High:
		return "values of " + short(high)
	}
	return "values from " + short(low) + " to " + short(high)
}

// justBelow returns an edge as people know it: cells that are for one value alone
// begin at the number just below it, as -4.94e-324 is below 0.
func justBelow(edge float64) (known float64, below bool) {
	next := math.Nextafter(edge, math.Inf(1)) + 0 // not -0
	if len(strconv.FormatFloat(next, 'g', -1, 64))+4 < len(strconv.FormatFloat(edge, 'g', -1, 64)) {
		return next, true
	}
	return edge, false
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 0, 64) + " %" }
