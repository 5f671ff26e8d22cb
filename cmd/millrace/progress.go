package main

import (
	"fmt"
	"os"
	"time"
)

// How often progress is shown: in place on a terminal, by lines elsewhere.
const (
	drawEvery = 100 * time.Millisecond
	lineEvery = 5 * time.Second
)

// A progress tells of long work on stderr: one line that changes on a terminal,
// a line now and then elsewhere, and nothing of work that is soon done.
type progress struct {
	w        *os.File
	terminal bool
	total    int64 // bytes in all; 0: unknown
	start    time.Time
	last     time.Time
	drawn    bool
}

func newProgress(w *os.File, total int64) *progress {
	now := time.Now()
	return &progress{w: w, terminal: isTerminal(w), total: total, start: now, last: now}
}

// isTerminal takes other character devices, as /dev/null, for terminals, too:
// nobody sees what goes there.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show tells how far the work is, if it is time to.
func (p *progress) show(events, bytes int64) {
	now := time.Now()
	every := lineEvery
	if p.terminal {
		every = drawEvery
	}
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	line := p.line(events, bytes, now.Sub(p.start))
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		p.drawn = true
		return
	}
	fmt.Fprintln(p.w, line)
}

// line says how many events, how fast, and how much longer it takes.
func (p *progress) line(events, bytes int64, took time.Duration) string {
	s := fmt.Sprintf("%s, %s/s", count(events, "event"), thousands(rate(events, took)))
	if p.total > 0 && bytes > 0 {
		share := min(1, float64(bytes)/float64(p.total))
		left := time.Duration(float64(took) * (1 - share) / share)
		s += fmt.Sprintf(", %.0f%%, %s to go", 100*share, left.Round(time.Second))
	}
	return s
}

// clear takes the changing line away, so that another can be written.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func rate(n int64, took time.Duration) int64 {
	return int64(float64(n) / max(took, time.Millisecond).Seconds())
}

// thousands writes 12154 as 12,154.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes 1 event, or 12,154 events.
func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(n) + " " + what
}
