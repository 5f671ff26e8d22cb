// Package stocks is the world of the demo: thirteen years of daily prices of
// five stocks, and a project that turns them into features. README.md says
// where the prices come from.
package stocks

import (
	_ "embed"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/project"
)

//go:embed stocks_daily.csv
var prices string

//go:embed stocks.yaml
var projectFile []byte

// The names in the project file that a replay needs.
const (
	Source = "prices"
	View   = "daily"
	Entity = "symbol"
	Model  = "big_move"
)

// ProjectFile returns the text of the project file.
func ProjectFile() []byte { return projectFile }

// Project returns the project, whose data lie below the folder dir.
func Project(dir string) (*project.Project, error) {
	return project.Parse(filepath.Join(dir, "stocks.yaml"), projectFile)
}

// An Event is one stock's trading day.
type Event struct {
	Symbol string
	Time   time.Time // of the exchange's close
	Open   float64   // dollars; 0 where it is missing
	Close  float64
	JSON   []byte // the event as the source has it
}

// Return is the logarithm of close over open, as the view has it, or false
// where a price is missing.
func (e *Event) Return() (float64, bool) {
	return math.Log(e.Close / e.Open), e.Open > 0 && e.Close > 0
}

// ID is that of the prediction that is made after the event.
func (e *Event) ID() string { return e.Symbol + "-" + e.Time.Format(time.DateOnly) }

// Events returns all events in the order of the file: by time, and within a
// day by symbol.
func Events() []Event {
	head, rows, _ := strings.Cut(prices, "\n")
	columns := strings.Split(head, ",")
	events := make([]Event, 0, strings.Count(rows, "\n"))
	for line := range strings.Lines(rows) {
		events = append(events, parse(columns, strings.Split(strings.TrimSuffix(line, "\n"), ",")))
	}
	return events
}

// parse makes an event of a row. The file is part of the program, so that what
// it cannot hold needs no error: a test reads it all.
func parse(columns, cells []string) Event {
	e := Event{Symbol: cells[0]}
	e.Time, _ = time.Parse(time.RFC3339, cells[1])
	e.JSON = append(e.JSON, '{')
	for i, name := range columns {
		if i > 0 {
			e.JSON = append(e.JSON, ',')
		}
		e.JSON = append(strconv.AppendQuote(e.JSON, name), ':')
		switch {
		case i < 2:
			e.JSON = strconv.AppendQuote(e.JSON, cells[i])
		case cells[i] == "":
			e.JSON = append(e.JSON, "null"...)
		default:
			e.JSON = append(e.JSON, cells[i]...)
		}
		switch name {
		case "open":
			e.Open, _ = strconv.ParseFloat(cells[i], 64)
		case "close":
			e.Close, _ = strconv.ParseFloat(cells[i], 64)
		}
	}
	e.JSON = append(e.JSON, '}')
	return e
}

// Days cuts events into runs of one time each.
func Days(events []Event) [][]Event {
	var days [][]Event
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].Time.Equal(events[0].Time) {
			n++
		}
		days = append(days, events[:n:n])
		events = events[n:]
	}
	return days
}
