package external

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"unicode"
)

const (
	keptBytes   = 64 << 10 // of the end of what a program prints
	lineBytes   = 2 << 10  // of a line that is logged; what is longer is cut
	loggedLines = 2000     // of one run
	shownLines  = 10       // in an error
	shownBytes  = 2 << 10  // in an error
)

// A printed takes what a program prints: it keeps the end of it, and logs lines.
type printed struct {
	log *slog.Logger

	mu     sync.Mutex
	end    []byte // at least the last keptBytes, at most twice as many
	cut    bool   // more came before end
	line   []byte // begun
	logged int    // lines
}

// Write takes what was printed. It never fails.
func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for rest := b; len(rest) > 0; {
		n := min(len(rest), keptBytes)
		p.end = append(p.end, rest[:n]...)
		rest = rest[n:]
		if over := len(p.end) - keptBytes; over > keptBytes {
			p.end, p.cut = append(p.end[:0], p.end[over:]...), true
		}
	}
	if p.logged >= loggedLines {
		return len(b), nil
	}
	for _, c := range b {
		if c == '\n' || c == '\r' { // a carriage return ends each state of a progress bar
			p.endLine()
		} else if len(p.line) < lineBytes {
			p.line = append(p.line, c)
		}
	}
	return len(b), nil
}

func (p *printed) endLine() {
	text := printable(string(p.line))
	p.line = p.line[:0]
	if text == "" || p.logged >= loggedLines {
		return
	}
	p.logged++
	p.log.LogAttrs(context.Background(), slog.LevelInfo, "learner", slog.String("line", text))
	if p.logged == loggedLines {
		p.log.Warn("further lines of the learner are not logged", "lines", loggedLines)
	}
}

// text returns the end of what was printed, and begins with a whole line where
// there is one. It logs the last line, if that has no end.
func (p *printed) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLine()
	kept, cut := p.end, p.cut
	if over := len(kept) - keptBytes; over > 0 {
		kept, cut = kept[over:], true
	}
	s := string(kept)
	if cut {
		if _, after, ok := strings.Cut(s, "\n"); ok && after != "" {
			s = after
		}
	}
	return printable(strings.ReplaceAll(s, "\r", "\n"))
}

// printable returns text without what would move a terminal's cursor or colour it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		if r == 0x1b {
			return -1
		}
		return '.'
	}, strings.ToValidUTF8(strings.TrimSpace(text), "."))
}

// lastLines returns the last lines of a log, indented, for an error.
func lastLines(log string) string {
	lines := strings.Split(log, "\n")
	lines = lines[max(0, len(lines)-shownLines):]
	text := strings.Join(lines, "\n\t")
	if over := len(text) - shownBytes; over > 0 {
		text = strings.ToValidUTF8("..."+text[over:], "")
	}
	return "\n\t" + text
}
