package eval

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
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
			if string(j.Verdict) != s.fields["verdict"] || !*update && !slices.Equal(j.Reasons, s.reasons) {
				t.Errorf("the gate says %s:\n  %s\nwant %s:\n  %s", j.Verdict, strings.Join(j.Reasons, "\n  "), s.fields["verdict"], strings.Join(s.reasons, "\n  "))
			}
			fmt.Fprintf(&b, "\n%s", strings.Join(s.lines, ""))
			for _, reason := range j.Reasons {
				fmt.Fprintf(&b, "reason: %s\n", reason)
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

// panelCohort is a year and more of five entities, with two models that differ.
func panelCohort(seed uint64) *Cohort {
	w := newWorld(seed)
	train, judged := w.days(500), w.days(240)
	return judged.cohort(fit(train, 0, 1, 2), fit(train, 0, 1))
}

var panelGate = Gate{Slices: []string{"symbol"}, MinSlice: 50}

// sameJudgement compares all but the last bits, which the order of a sum
// decides.
func sameJudgement(t *testing.T, got, want Judgement) {
	t.Helper()
	equal := func(a, b any) bool {
		x, xok := a.(float64)
		y, yok := b.(float64)
		if xok && yok {
			return math.Abs(x-y) <= 1e-9*(1+math.Abs(x))
		}
		return a == b
	}
	g, w := flattened(t, got), flattened(t, want)
	for path, value := range w {
		if other, ok := g[path]; !ok || !equal(other, value) {
			t.Errorf("%s is %v, want %v", path, other, value)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%d values, want %d", len(g), len(w))
	}
}

// flattened returns the leaves of a judgement's JSON by path.
func flattened(t *testing.T, j Judgement) map[string]any {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	leaves := make(map[string]any)
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, child := range node {
				walk(path+"."+key, child)
			}
		case []any:
			for i, child := range node {
				walk(fmt.Sprint(path, ".", i), child)
			}
		default:
			leaves[path] = node
		}
	}
	walk("", tree)
	return leaves
}

func TestRowsOfOneTimeHaveNoOrder(t *testing.T) {
	for seed := range uint64(6) {
		c := panelCohort(seed)
		random := rand.New(rand.NewPCG(seed, 1))
		order := make([]int, 0, len(c.Time))
		for first := 0; first < len(c.Time); {
			last := first
			for last < len(c.Time) && c.Time[last] == c.Time[first] {
				last++
			}
			for _, i := range random.Perm(last - first) {
				order = append(order, first+i)
			}
			first = last
		}
		shuffled := &Cohort{
			Time: pick(c.Time, order), Label: pick(c.Label, order), Candidate: pick(c.Candidate, order), Champion: pick(c.Champion, order),
			Slices: map[string][]string{"symbol": pick(c.Slices["symbol"], order)},
		}
		sameJudgement(t, Judge(binary, panelGate, 0, shuffled), Judge(binary, panelGate, 0, c))
	}
}

func TestSwappingTheModelsMirrorsTheGain(t *testing.T) {
	for seed := range uint64(6) {
		c := panelCohort(seed)
		j := Judge(binary, panelGate, 0, c)
		c.Candidate, c.Champion = c.Champion, c.Candidate
		k := Judge(binary, panelGate, 0, c)
		if k.Gain != (Bounds{-j.Gain.Hi, -j.Gain.Mean, -j.Gain.Lo}) {
			t.Errorf("seed %d: gain %v, swapped %v", seed, j.Gain, k.Gain)
		}
		if k.Candidate.Loss != j.Champion.Loss || k.Champion.AUC != j.Candidate.AUC {
			t.Errorf("seed %d: the metrics did not swap", seed)
		}
	}
}

func TestSliceColumnTwiceChangesOnlySlices(t *testing.T) {
	c := panelCohort(3)
	want := Judge(binary, panelGate, 0, c)
	c.Slices["again"] = c.Slices["symbol"]
	gate := panelGate
	gate.Slices = []string{"symbol", "again"}
	got := Judge(binary, gate, 0, c)
	n := len(want.Slices)
	if len(got.Slices) != 2*n || n != 5 {
		t.Fatalf("%d slices, want twice %d", len(got.Slices), n)
	}
	for i, s := range got.Slices {
		once := want.Slices[i%n]
		if s.Value != once.Value || s.P != once.P || s.Gain != once.Gain || s.Adjusted < once.Adjusted {
			t.Errorf("slice %s=%s: %+v, want as %+v", s.Column, s.Value, s, once)
		}
	}
	got.Slices = want.Slices
	sameJudgement(t, got, want)
}

func TestBaselinesAreShownAndNotJudged(t *testing.T) {
	c := panelCohort(4)
	want := Judge(binary, panelGate, 0, c)
	c.Baselines = map[string][]float64{"base_rate": cycle(len(c.Time), []float64{0.5}), "nothing": cycle(len(c.Time), []float64{math.NaN()})}
	got := Judge(binary, panelGate, 0, c)
	near(t, "base rate", got.Loss["base_rate"], math.Ln2)
	near(t, "nothing", got.Loss["nothing"], math.NaN())
	delete(got.Loss, "base_rate")
	delete(got.Loss, "nothing")
	sameJudgement(t, got, want)
}

func TestColumnsThatMakeNoTable(t *testing.T) {
	for want, spoil := range map[string]func(c *Cohort){
		"column candidate has 0 rows and there are 1200 times":      func(c *Cohort) { c.Candidate = nil },
		"column label has 1199 rows and there are 1200 times":       func(c *Cohort) { c.Label = c.Label[1:] },
		"column baseline x has 1 rows and there are 1200 times":     func(c *Cohort) { c.Baselines = map[string][]float64{"x": {1}} },
		"column slice symbol has 1 rows and there are 1200 times":   func(c *Cohort) { c.Slices["symbol"] = []string{"A"} },
		"a baseline must not be called champion":                    func(c *Cohort) { c.Baselines = map[string][]float64{"champion": c.Champion} },
		fmt.Sprintf("time goes back in row 7: 5 after %d", 501*day): func(c *Cohort) { c.Time[7] = 5 },
		"slice column symbol is not in the cohort":                  func(c *Cohort) { c.Slices = nil },
	} {
		c := panelCohort(5)
		spoil(c)
		j := Judge(binary, panelGate, 0, c)
		if j.Verdict != Inconclusive || !slices.Equal(j.Reasons, []string{want}) {
			t.Errorf("%s for %q, want inconclusive for %q", j.Verdict, j.Reasons, want)
		}
	}
	if j := Judge(binary, Gate{}, 0, nil); j.Verdict != Inconclusive || !slices.Equal(j.Reasons, []string{"there is no cohort"}) {
		t.Errorf("%s for %q without a cohort", j.Verdict, j.Reasons)
	}
}

// TestManySlices has more values than are judged or listed.
func TestManySlices(t *testing.T) {
	c := &Cohort{Slices: map[string][]string{}}
	const days, values = 160, 1100
	for d := range days {
		for v := range values {
			if v >= 120 && d > 0 {
				break // values beyond have one row each
			}
			c.Time = append(c.Time, int64(d))
			c.Label = append(c.Label, 0)
			c.Champion = append(c.Champion, 2)
			c.Candidate = append(c.Candidate, 1)
			c.Slices["user"] = append(c.Slices["user"], fmt.Sprintf("%04d", v))
		}
	}
	j := Judge(regression, Gate{Slices: []string{"user"}}, 0, c)
	judged := 0
	for _, s := range j.Slices {
		if s.Judged {
			judged++
		}
	}
	want := []string{
		"squared error 1.0000 against the champion's 4.0000: better by 3.0000, 95 % lower bound 3.0000, margin 0",
		"900 of 1000 slices are not judged; the first is user=0100: only the 100 slices with the most rows are judged",
		"100 slices beyond the 1000 with the most rows are not listed",
	}
	if j.Verdict != Promote || !slices.Equal(j.Reasons, want) || judged != maxJudged || len(j.Slices) != maxListed {
		t.Errorf("%s, %d of %d slices judged, for %q", j.Verdict, judged, len(j.Slices), j.Reasons)
	}
}

// TestSlicesVetoAtEachConfidence has a candidate that is better at all, and
// hopeless in one of many slices: no number of slices and no confidence hides it.
func TestSlicesVetoAtEachConfidence(t *testing.T) {
	for _, test := range []struct {
		confidence         float64
		replicates, slices int
		judged             int
	}{
		{0.95, 400, 100, 100}, {0.99, 2000, 100, 100}, {0.999, 20_000, 40, 40}, {0.9997, 70_000, 40, 30},
	} {
		c := &Cohort{Slices: map[string][]string{}}
		for at := range 80 {
			for v := range test.slices {
				y := float64(at % 2)
				p := 0.5 + (y-0.5)*(0.4+0.01*float64((at*7+v)%10))
				if v == 0 {
					p = 1 - p
				}
				c.Time, c.Label = append(c.Time, int64(at)), append(c.Label, y)
				c.Champion, c.Candidate = append(c.Champion, 0.5), append(c.Candidate, p)
				c.Slices["user"] = append(c.Slices["user"], fmt.Sprintf("%03d", v))
			}
		}
		g := Gate{Confidence: test.confidence, Replicates: test.replicates, Slices: []string{"user"}, MinSlice: 50, Periods: 2}
		j := Judge(binary, g, 0, c)
		judged := 0
		for _, s := range j.Slices {
			if s.Judged {
				judged++
			}
			if s.Veto != (s.Value == "000") {
				t.Errorf("confidence %v, %d slices: slice %s with p %v, %v by Holm: veto %t", test.confidence, test.slices, s.Value, s.P, s.Adjusted, s.Veto)
			}
		}
		if j.Verdict != Reject || j.Gain.Lo <= 0 || judged != test.judged {
			t.Errorf("confidence %v: %s with a gain of %v, %d slices judged, for %q", test.confidence, j.Verdict, j.Gain, judged, j.Reasons)
		}
	}
}

// FuzzJudge gives the gate columns of any doubles at any times: it must answer
// with a reason, in JSON, and never promote what it has no bound for.
func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), 40, 1.0, 0.5, false, int64(1))
	f.Add(uint64(2), 100, math.NaN(), 0.5, true, int64(-1))
	f.Add(uint64(3), 100, 1e308, -1e308, false, int64(math.MaxInt64))
	f.Add(uint64(4), 0, 0.0, math.Inf(1), true, int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, seed uint64, rows int, one, two float64, isBinary bool, step int64) {
		random := rand.New(rand.NewPCG(seed, 9))
		values := []float64{one, two, 0, 1, one + two, one * two}
		c := &Cohort{Slices: map[string][]string{"s": nil}}
		for i := range min(max(rows, 0), 300) {
			c.Time = append(c.Time, int64(i)*step)
			c.Label = append(c.Label, values[random.IntN(len(values))])
			c.Candidate = append(c.Candidate, values[random.IntN(len(values))])
			c.Champion = append(c.Champion, values[random.IntN(len(values))])
			c.Slices["s"] = append(c.Slices["s"], string(rune('a'+random.IntN(3))))
		}
		task := regression
		if isBinary {
			task = binary
		}
		gate := Gate{Rows: 30, Periods: 1 + random.IntN(3), MinSlice: 5, Replicates: 400, Slices: []string{"s"}, Seed: seed}
		j := Judge(task, gate, time.Duration(random.IntN(3)), c)
		if len(j.Reasons) == 0 || j.Verdict == Promote && !(j.Gain.Lo > 0) {
			t.Errorf("%s for %q with a gain of %v", j.Verdict, j.Reasons, j.Gain)
		}
		if _, err := json.Marshal(j); err != nil {
			t.Error(err)
		}
	})
}
