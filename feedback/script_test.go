package feedback

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what comes out to testdata/*.txt")

// TestScripts runs testdata/*.txt. A line at the left is what goes in, and the
// indented lines below it are what comes out:
//
//	join KIND HORIZON GRACE        begins again with an empty log; one unit is a microsecond
//	predict ID TIME [KEY]          a prediction; its key is its id with join prediction_id, else "k"
//	hear ID TIME LABEL [KEY]       an outcome; an id with slashes is a position
//	tick TIME                      also closes what is due
//	stats                          what became of all
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&script{t: t}).run(string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s gives\n%s", file, got)
			}
		})
	}
}

type script struct {
	t     *testing.T
	world *world
	join  JoinKind
	shown int // examples
}

func (s *script) run(text string) string {
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		for _, result := range s.line(i+1, words) {
			fmt.Fprintf(&out, "  %s\n", result)
		}
	}
	return out.String()
}

func (s *script) line(n int, words []string) []string {
	if len(words) < 4 {
		words = append(words, "", "", "")
	}
	number := func(i int) int64 {
		x, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			s.t.Fatalf("line %d: %v: word %d is no number", n, words, i)
		}
		return x
	}
	switch words[0] {
	case "join":
		s.join, s.shown = JoinKind(words[1]), 0
		s.world = newWorld(s.t, map[string]Rules{"m": {s.join, time.Duration(number(2)) * time.Microsecond, time.Duration(number(3)) * time.Microsecond}})
		return nil
	case "predict":
		return s.take(Record{Prediction: samplePrediction(words[1], "m", s.key(words[1], words[3]), number(2))})
	case "hear":
		o := &Outcome{ID: words[1], Model: "m", Time: number(2), Label: float64(number(3)), Key: s.key("p", strings.Join(words[4:], ""))}
		if part := strings.Split(words[1], "/"); len(part) == 3 {
			partition, _ := strconv.Atoi(part[1])
			offset, _ := strconv.ParseInt(part[2], 10, 64)
			o.ID, o.At = "", &Position{part[0], partition, offset}
		}
		return s.take(Record{Outcome: o})
	case "tick":
		return s.take(Record{Tick: &Tick{number(1)}})
	case "stats":
		return stats(s.world.shard.Stats())
	}
	s.t.Fatalf("line %d: %v: not known", n, words)
	return nil
}

func (s *script) key(id, given string) string {
	switch {
	case given != "":
		return given
	case s.join == ByPrediction:
		return id
	}
	return "k"
}

// take returns what comes out of a record: examples, and what was refused.
func (s *script) take(rec Record) (out []string) {
	s.world.take(rec)
	for _, e := range s.world.examples[s.shown:] {
		switch e.Kind {
		case Labelled:
			what := "is"
			if e.Correction {
				what = "becomes"
			}
			out = append(out, fmt.Sprintf("%s %s %v, of %s; known %d", e.Prediction.ID, what, e.Label, e.Outcome, e.Known))
		case Unanswered:
			out = append(out, fmt.Sprintf("%s is unanswered: %s; known %d", e.Prediction.ID, e.Why, e.Known))
		case Passed:
			out = append(out, fmt.Sprintf("passed %d", e.Known))
		}
	}
	s.shown = len(s.world.examples)
	for _, reason := range s.world.rejected {
		out = append(out, "rejected: "+reason)
	}
	s.world.rejected = nil
	return out
}

// stats says which counters are not 0.
func stats(s Stats) []string {
	p, o, d := s.Predictions, s.Outcomes, s.Details
	list := func(what string, pairs ...any) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1].(int64) != 0 {
				what += fmt.Sprintf(" %v %v,", pairs[i], pairs[i+1])
			}
		}
		return strings.TrimRight(what, ",:")
	}
	return []string{
		list(fmt.Sprintf("%d predictions:", p.Total), "pending", p.Pending, "matched", p.Matched, "unanswered", p.Unanswered, "corrected", d.Corrections, "repeated", d.RepeatedPredictions),
		list(fmt.Sprintf("%d outcomes:", o.Total), "effective", o.Effective, "superseded", o.Superseded, "duplicate", o.Duplicate,
			"late", o.Late, "invalid", o.Invalid, "orphan", o.Orphan, "waiting", o.Waiting),
	}
}
