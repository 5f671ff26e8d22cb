package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/loadtest/stocks"
)

// A screen shows a replay: a table that moves on a terminal, and elsewhere a
// line for each year.
type screen struct {
	w        *os.File
	quiet    bool // shows nothing
	terminal bool
	drawn    time.Time
	lines    int // of the table that is on the terminal

	at      time.Time // the day last shown
	waits   []time.Duration
	symbols []string            // of which something is known, sorted
	cells   map[string][]string // by symbol and column
	big     map[string]string   // by symbol: how likely a big move is tomorrow
	model   string              // who says so
}

// The columns after the symbol.
var demoColumns = []struct {
	title, feature, format string
	scale                  float64
	width                  int
}{
	{"close", "last_close", "%.2f", 1, 9},
	{"day", "last_ret", "%+.2f%%", 100, 9},
	{"30d mean", "ret_mean_30d", "%+.2f%%", 100, 10},
	{"30d std", "ret_std_30d", "%.2f%%", 100, 9},
	{"z", "last_ret_z", "%+.2f", 1, 7},
	{"week/month volume", "volume_ratio", "%.2f", 1, 19},
	{"days", "days", "%.0f", 1, 7},
}

func newScreen(w *os.File, quiet bool) *screen {
	return &screen{w: w, quiet: quiet, terminal: !quiet && isTerminal(w) && os.Getenv("TERM") != "dumb", cells: map[string][]string{}, big: map[string]string{}}
}

// predicted takes in a prediction of tomorrow's move.
func (s *screen) predicted(symbol string, p *client.Prediction) {
	s.big[symbol] = fmt.Sprintf("%.0f%%", 100*p.Score)
	s.model = "the base rate"
	if !p.BaseRate {
		s.model = fmt.Sprintf("version %d", p.Version)
	}
}

// show takes in a day, and shows it if it is time to.
func (s *screen) show(day []stocks.Event, got *stocks.Vectors, waits []time.Duration) {
	if s.quiet {
		return
	}
	at := day[0].Time
	if !s.terminal && !s.at.IsZero() && at.Year() != s.at.Year() {
		s.line()
	}
	s.at, s.waits = at, waits
	for i, e := range day {
		if s.cells[e.Symbol] == nil {
			s.symbols = append(s.symbols, e.Symbol)
			slices.Sort(s.symbols)
		}
		s.cells[e.Symbol] = demoCells(got, i)
	}
	if s.terminal && time.Since(s.drawn) >= drawEvery/2 {
		s.draw()
	}
}

// note writes a text that stays.
func (s *screen) note(text string) {
	switch {
	case s.quiet:
		return
	case s.terminal && s.lines > 0: // over the table, which is drawn again below
		fmt.Fprintf(s.w, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
	fmt.Fprintln(s.w, text)
}

// end shows the last day.
func (s *screen) end() {
	switch {
	case s.at.IsZero():
	case s.terminal:
		s.draw()
		fmt.Fprint(s.w, "\x1b[?25h\n") // the cursor again
	default:
		s.line()
		fmt.Fprintln(s.w)
	}
}

func demoCells(got *stocks.Vectors, row int) []string {
	cells := make([]string, len(demoColumns))
	for i, c := range demoColumns {
		cells[i] = "-"
		if column := got.Column(c.feature); column != nil {
			if x, ok := column.Float(row); ok {
				cells[i] = fmt.Sprintf(c.format, c.scale*x)
			}
		}
	}
	return cells
}

// draw writes the table over the last one. The terminal cuts lines that are too
// long for it: if it broke them, the next table would begin too low.
func (s *screen) draw() {
	s.drawn = time.Now()
	var b strings.Builder
	b.WriteString("\x1b[?25l\x1b[?7l")
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	b.WriteString("\x1b[J")
	sorted := slices.Sorted(slices.Values(s.waits))
	fmt.Fprintf(&b, "%s   %s days written and looked up at once: p50 %.1f ms, p99 %.1f ms\n\n      ", s.at.Format("2 January 2006"),
		thousands(int64(len(sorted))), loadtest.Millis(loadtest.Quantile(sorted, 0.5)), loadtest.Millis(loadtest.Quantile(sorted, 0.99)))
	for _, c := range demoColumns {
		fmt.Fprintf(&b, "%*s", c.width, c.title)
	}
	fmt.Fprintf(&b, "%15s", "move >= 2%")
	for _, symbol := range s.symbols {
		fmt.Fprintf(&b, "\n%-6s", symbol)
		for i, c := range demoColumns {
			fmt.Fprintf(&b, "%*s", c.width, s.cells[symbol][i])
		}
		fmt.Fprintf(&b, "%15s", s.big[symbol])
	}
	fmt.Fprintf(&b, "\n\nThe last column is how likely the next day's move is 2 %% or more, says %s.\n\x1b[?7h", cmp.Or(s.model, "nobody yet"))
	fmt.Fprint(s.w, b.String())
	s.lines = 5 + len(s.symbols)
}

// line writes where the stocks stand: close and standard deviation.
func (s *screen) line() {
	fmt.Fprint(s.w, s.at.Format(time.DateOnly))
	for _, symbol := range s.symbols {
		fmt.Fprintf(s.w, "   %s %s (30d std %s)", symbol, s.cells[symbol][0], s.cells[symbol][3])
	}
	fmt.Fprintln(s.w)
}
