package chart

import (
	"math"
	"strconv"
	"time"
)

// A stride is a distance between ticks of time: a fixed time, or months.
type stride struct {
	fixed  time.Duration
	months int
}

// strides from fine to coarse. Days are strides of their own and not hours, so that
// ticks begin with months.
var strides = []stride{
	{fixed: time.Millisecond}, {fixed: 10 * time.Millisecond}, {fixed: 100 * time.Millisecond},
	{fixed: time.Second}, {fixed: 5 * time.Second}, {fixed: 15 * time.Second}, {fixed: 30 * time.Second},
	{fixed: time.Minute}, {fixed: 5 * time.Minute}, {fixed: 15 * time.Minute}, {fixed: 30 * time.Minute},
	{fixed: time.Hour}, {fixed: 3 * time.Hour}, {fixed: 6 * time.Hour}, {fixed: 12 * time.Hour},
	{fixed: day}, {fixed: 2 * day}, {fixed: 5 * day}, {fixed: 10 * day},
	{months: 1}, {months: 3}, {months: 6},
	{months: 12}, {months: 24}, {months: 60}, {months: 120}, {months: 240}, {months: 600},
}

const day = 24 * time.Hour

// length is about how long a stride is.
func (s stride) length() time.Duration {
	return s.fixed + time.Duration(s.months)*30*day
}

// timeTicks returns at most most ticks within lo to hi, microseconds, at the starts
// of years, months, days, hours or less. Where the range is shorter than a
// millisecond there may be none.
func timeTicks(lo, hi float64, most int) []tick {
	span := time.Duration(min((hi-lo)*1e3, math.MaxInt64/2))
	for _, s := range strides {
		if span/s.length() > time.Duration(most) {
			continue
		}
		if ticks := s.between(int64(math.Ceil(lo)), int64(math.Floor(hi))); len(ticks) <= most {
			return ticks
		}
	}
	return nil
}

func (s stride) between(lo, hi int64) []tick {
	var ticks []tick
	before := time.Time{}
	for t := s.first(lo); t.UnixMicro() <= hi; t = s.next(t) {
		text, under := s.text(t), s.under(t)
		if !before.IsZero() && s.under(before) == under {
			under = ""
		}
		ticks = append(ticks, tick{float64(t.UnixMicro()), text, under})
		before = t
	}
	return ticks
}

// first returns the first tick that is not before lo.
func (s stride) first(lo int64) time.Time {
	t := time.UnixMicro(lo).UTC()
	var start time.Time
	switch {
	case s.months >= 12:
		years := s.months / 12
		year := int(math.Floor(float64(t.Year())/float64(years))) * years
		start = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	case s.months > 0:
		month := (int(t.Month())-1)/s.months*s.months + 1
		start = time.Date(t.Year(), time.Month(month), 1, 0, 0, 0, 0, time.UTC)
	case s.fixed >= day:
		start = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	default:
		start = t.Truncate(s.fixed)
	}
	for start.UnixMicro() < lo {
		start = s.next(start)
	}
	return start
}

// next returns the tick after t. Strides of days begin anew with each month, and
// leave out one that is too near to its end.
func (s stride) next(t time.Time) time.Time {
	if s.months > 0 {
		return t.AddDate(0, s.months, 0)
	}
	next := t.Add(s.fixed)
	if s.fixed <= day {
		return next
	}
	month := time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if month.Sub(next) < s.fixed/2 {
		return month
	}
	return next
}

func (s stride) text(t time.Time) string {
	switch {
	case s.months >= 12:
		return strconv.Itoa(t.Year())
	case s.months > 0:
		return t.Format("Jan")
	case s.fixed >= day:
		return t.Format("2 Jan")
	case s.fixed >= time.Minute:
		return t.Format("15:04")
	case s.fixed >= time.Second:
		return t.Format("15:04:05")
	}
	return t.Format("05.000")
}

// under is the greater unit that a tick's text leaves open.
func (s stride) under(t time.Time) string {
	switch {
	case s.months >= 12:
		return ""
	case s.months > 0, s.fixed >= day:
		return t.Format("2006")
	case s.fixed >= time.Second:
		return t.Format("2 Jan 2006")
	}
	return t.Format("2 Jan 2006 15:04")
}

// A clock writes times as exactly as they need.
type clock string

// clockFor returns the shortest format that tells all xs apart from their whole unit.
func clockFor(xs []float64) clock {
	c := clock("2006-01-02")
	for _, x := range xs {
		t := time.UnixMicro(int64(x)).UTC()
		switch {
		case t.Nanosecond() != 0:
			return "2006-01-02 15:04:05.000"
		case t.Second() != 0:
			c = "2006-01-02 15:04:05"
		case c == "2006-01-02" && !t.Equal(t.Truncate(day)):
			c = "2006-01-02 15:04"
		}
	}
	return c
}

func (c clock) text(x float64) string {
	return time.UnixMicro(int64(x)).UTC().Format(string(c))
}
