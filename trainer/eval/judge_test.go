package eval

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the gate says into testdata/gate.txt")

const day = int64(24 * time.Hour / time.Microsecond)

// A scene is a case of testdata/gate.txt.
type scene struct {
	lines   []string // of the file, comments too, without the reasons
	fields  map[string]string
	reasons []string
}

func readScenes(t *testing.T) (head string, scenes []*scene) {
	t.Helper()
	text, err := os.ReadFile("testdata/gate.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case key == "cohort":
			scenes = append(scenes, &scene{fields: make(map[string]string)})
		case len(scenes) == 0:
			head += line
			continue
		case key == "":
			continue
		}
		s := scenes[len(scenes)-1]
		if key == "reason" {
			s.reasons = append(s.reasons, value)
			continue
		}
		s.lines = append(s.lines, line)
		s.fields[key] = value
	}
	return head, scenes
}

func (s *scene) number(t *testing.T, key string) int {
	t.Helper()
	n, err := strconv.Atoi(s.fields[key])
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

func cycle[T any](n int, values []T) []T {
	column := make([]T, n)
	for i := range column {
		column[i] = values[i%len(values)]
	}
	return column
}

func (s *scene) scores(t *testing.T, key string, n int) []float64 {
	t.Helper()
	var values []float64
	for _, word := range strings.Fields(s.fields[key]) {
		x, err := strconv.ParseFloat(word, 64)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		values = append(values, x)
	}
	if len(values) == 0 {
		values = []float64{0}
	}
	return cycle(n, values)
}

func (s *scene) cohort(t *testing.T) *Cohort {
	t.Helper()
	aDay := s.number(t, "rows_a_day")
	n := s.number(t, "days") * aDay
	c := &Cohort{Label: s.scores(t, "label", n), Champion: s.scores(t, "champion", n), Candidate: s.scores(t, "candidate", n)}
	for i := range n {
		c.Time = append(c.Time, int64(i/aDay)*day)
	}
	if values, ok := s.fields["slice symbol"]; ok {
		c.Slices = map[string][]string{"symbol": cycle(n, strings.Fields(values))}
	}
	return c
}

func (s *scene) gate(t *testing.T, c *Cohort) (g Gate) {
	t.Helper()
	for name := range c.Slices {
		g.Slices = append(g.Slices, name)
	}
	for _, word := range strings.Fields(s.fields["gate"]) {
		key, value, _ := strings.Cut(word, "=")
		x, err := strconv.ParseFloat(value, 64)
		switch {
		case key == "slices":
			g.Slices = []string{value}
		case err != nil:
			t.Fatalf("%s: %v", word, err)
		case key == "rows":
			g.Rows = int(x)
		case key == "confidence":
			g.Confidence = x
		case key == "margin":
			g.Margin = x
		case key == "min_slice":
			g.MinSlice = int(x)
		case key == "periods":
			g.Periods = int(x)
		default:
			t.Fatalf("gate: unknown key %s", key)
		}
	}
	return g
}

func (s *scene) judge(t *testing.T) Judgement {
	t.Helper()
	var horizon time.Duration
	if text := s.fields["horizon"]; text != "" {
		var err error
		if horizon, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	c := s.cohort(t)
	return Judge(s.fields["task"], s.gate(t, c), horizon, c)
}

// TestJudge runs testdata/gate.txt. With -update the reasons are written anew,
// to be read by hand.
func TestJudge(t *testing.T) {
	head, scenes := readScenes(t)
	var b strings.Builder
	b.WriteString(strings.TrimSpace(head) + "\n")
	for _, s := range scenes {
		t.Run(s.fields["cohort"], func(t *testing.T) {
			j := s.judge(t)
			lines := strings.Split(strings.Join(j.Reasons, "\n"), "\n")
			if string(j.Verdict) != s.fields["verdict"] || !*update && !slices.Equal(lines, s.reasons) {
				t.Errorf("the gate says %s:\n  %s\nwant %s:\n  %s", j.Verdict, strings.Join(lines, "\n  "), s.fields["verdict"], strings.Join(s.reasons, "\n  "))
			}
			fmt.Fprintf(&b, "\n%s", strings.Join(s.lines, ""))
			for _, line := range lines {
				fmt.Fprintf(&b, "reason: %s\n", line)
			}
			if _, err := json.Marshal(j); err != nil {
				t.Errorf("the judgement is no JSON: %v", err)
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/gate.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var _ = reflect.DeepEqual
var _ = math.NaN
