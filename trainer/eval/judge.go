package eval

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Bounds are a mean and its bounds, each one-sided at the gate's confidence.
type Bounds struct {
	Lo   Number `json:"lo"`
	Mean Number `json:"mean"`
	Hi   Number `json:"hi"`
}

// A Judgement is what a gate says about a candidate, with all that it saw.
type Judgement struct {
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons"` // sentences; never empty

	Task       string  `json:"task"`
	Metric     string  `json:"metric"` // the loss: log loss or squared error
	Confidence float64 `json:"confidence"`
	Margin     float64 `json:"margin"`
	Tolerance  float64 `json:"tolerance"`

	Rows   int `json:"rows"`
	Times  int `json:"times"`  // distinct
	Blocks int `json:"blocks"` // of the bootstrap

	Loss      map[string]Number `json:"loss"` // candidate, champion, and each baseline by name
	Gain      Bounds            `json:"gain"` // of the champion's loss less the candidate's, row by row; positive: the candidate is better
	Candidate Quality           `json:"candidate"`
	Champion  Quality           `json:"champion"`
	Slices    []SliceReport     `json:"slices,omitempty"` // by column in the gate's order, then by value

	// How much each of the candidate's inputs matters on these rows, by slice; Judge
	// leaves both to whoever has the models.
	Inputs     []string     `json:"inputs,omitempty"`
	Importance []Importance `json:"importance,omitempty"`
}

// Judge judges a cohort's candidate against its champion, paired row by row.
// Labels are complete up to the horizon. It promotes when the lower bound of
// the gain is above the margin, strictly, and no slice vetoes; it rejects when
// the upper bound is below the margin or a slice vetoes. Everything else is
// inconclusive, and so is every cohort that cannot be judged, except that
// scores of the candidate that are no numbers or no probabilities are its own
// fault: reject. Nothing in a cohort makes it panic.
func Judge(task string, g Gate, horizon time.Duration, c *Cohort) Judgement {
	g = g.WithDefaults()
	_, metric := lossOf(task)
	j := Judgement{
		Verdict: Inconclusive, Task: task, Metric: metric,
		Confidence: g.Confidence, Margin: g.Margin, Tolerance: g.Tolerance,
		Gain: Bounds{Undefined(), Undefined(), Undefined()},
		Loss: map[string]Number{}, Candidate: Measured(task, nil, nil), Champion: Measured(task, nil, nil),
	}
	if err := g.Check(); err != nil {
		return j.because("the gate cannot judge: %v", err)
	}
	if fault := c.misshapen(task, g); fault != "" {
		return j.because("%s", fault)
	}
	j.measure(task, c)
	if bad := c.unfit(task, &j); bad {
		return j
	}
	enough := c.enough(task, g, &j)
	b := g.bootstrap(horizon)
	gains, squares := c.gains(task)
	if !finite(squares * float64(len(gains))) {
		return j.because("the losses are too large for their differences to be summed")
	}
	s := newStudy(c.Time, gains, b)
	j.Times, j.Blocks, j.Gain.Mean = s.times, s.blocks, Number(s.mean)
	if s.blocks < minBlocks {
		return j.because("too little data: %s", s.tooFew(b))
	}
	lo, hi := s.bounds(g.Confidence)
	j.Gain = Bounds{Number(lo), Number(s.mean), Number(hi)}
	dropped := j.slice(task, g, b, c, gains)
	verdict := j.conclude()
	if j.sliceReasons(g, dropped) {
		verdict = Reject
	}
	if enough {
		j.Verdict = verdict
	}
	return j
}

func (j *Judgement) because(format string, args ...any) Judgement {
	j.Reasons = append(j.Reasons, fmt.Sprintf(format, args...))
	return *j
}

// The names of the judged models in Judgement.Loss.
const (
	candidate = "candidate"
	champion  = "champion"
)

func (j *Judgement) measure(task string, c *Cohort) {
	j.Rows = len(c.Time)
	j.Candidate = Measured(task, c.Label, c.Candidate)
	j.Champion = Measured(task, c.Label, c.Champion)
	loss, _ := lossOf(task)
	for name, scores := range c.Baselines {
		j.Loss[name] = mean(c.Label, scores, nil, loss).Value
	}
	j.Loss[candidate], j.Loss[champion] = j.Candidate.Loss, j.Champion.Loss
}

// conclude decides by the bounds and says why.
func (j *Judgement) conclude() Verdict {
	percent, margin := 100*j.Confidence, Number(j.Margin)
	how := "better"
	if j.Gain.Mean < 0 {
		how = "worse"
	}
	sentence := fmt.Sprintf("%s %.4f against the champion's %.4f: %s by %.4f", j.Metric,
		j.Candidate.Loss, j.Champion.Loss, how, math.Abs(float64(j.Gain.Mean)))
	verdict := decide(j.Gain, margin)
	switch verdict {
	case Promote:
		j.because("%s, %.4g %% lower bound %.4f, margin %v", sentence, percent, j.Gain.Lo, margin)
	case Reject:
		j.because("%s, %.4g %% upper bound %.4f, margin %v", sentence, percent, j.Gain.Hi, margin)
	default:
		j.because("%s, but the %.4g %% bounds %.4f and %.4f have the margin %v between them", sentence, percent, j.Gain.Lo, j.Gain.Hi, margin)
	}
	return verdict
}

// decide compares the bounds of a gain with a margin. A bound on the margin
// does not clear it: two equal models gain 0, which is no improvement.
func decide(gain Bounds, margin Number) Verdict {
	switch {
	case gain.Lo > margin:
		return Promote
	case gain.Hi < margin:
		return Reject
	}
	return Inconclusive
}

// gains returns what the candidate is better by in each row, and the sum of
// squares, which tells whether doubles suffice. What rounding can make of one
// loss computed in two ways is no gain: every row of it together would look
// significant.
func (c *Cohort) gains(task string) (gains []float64, squares float64) {
	loss, _ := lossOf(task)
	gains = make([]float64, len(c.Label))
	for i, y := range c.Label {
		old, new := loss(y, c.Champion[i]), loss(y, c.Candidate[i])
		if math.Abs(old-new) > rounding*(old+new) {
			gains[i] = old - new
		}
		squares += gains[i] * gains[i]
	}
	return gains, squares
}

// misshapen says why the columns do not make a table, or nothing.
func (c *Cohort) misshapen(task string, g Gate) string {
	if task != binary && task != regression {
		return fmt.Sprintf("task %q: the gate judges %s and %s", task, binary, regression)
	}
	if c == nil {
		return "there is no cohort"
	}
	n := len(c.Time)
	columns := map[string]int{"label": len(c.Label), candidate: len(c.Candidate), champion: len(c.Champion)}
	for name, scores := range c.Baselines {
		if _, taken := columns[name]; taken {
			return fmt.Sprintf("a baseline must not be called %s", name)
		}
		columns["baseline "+name] = len(scores)
	}
	for _, name := range g.Slices {
		column, ok := c.Slices[name]
		if !ok {
			return fmt.Sprintf("slice column %s is not in the cohort", name)
		}
		columns["slice "+name] = len(column)
	}
	for _, name := range sortedKeys(columns) {
		if columns[name] != n {
			return fmt.Sprintf("column %s has %d rows and there are %d times", name, columns[name], n)
		}
	}
	for i := 1; i < n; i++ {
		if c.Time[i] < c.Time[i-1] {
			return fmt.Sprintf("time goes back in row %d: %d after %d", i, c.Time[i], c.Time[i-1])
		}
	}
	return ""
}

// unfit says which columns hold what they must not, and reports whether any
// does. Only the candidate's scores are the candidate's fault.
func (c *Cohort) unfit(task string, j *Judgement) bool {
	probability := func(x float64) bool { return x >= 0 && x <= 1 }
	class := func(x float64) bool { return x == 0 || x == 1 }
	if task == regression {
		probability, class = finite, finite
	}
	said := len(j.Reasons)
	for _, column := range []struct {
		name    string
		values  []float64
		fits    func(float64) bool
		want    string
		verdict Verdict
	}{
		{"the labels", c.Label, class, "0 and 1", Inconclusive},
		{"the champion's scores", c.Champion, probability, "probabilities", Inconclusive},
		{"the candidate's scores", c.Candidate, probability, "probabilities", Reject},
	} {
		if task == regression {
			column.want = "finite numbers"
		}
		wrong := func(x float64) bool { return !column.fits(x) }
		first := slices.IndexFunc(column.values, wrong)
		if first < 0 {
			continue
		}
		count := 0
		for _, x := range column.values {
			if wrong(x) {
				count++
			}
		}
		j.Verdict = column.verdict
		j.because("%s are not %s in %d of %d rows: the first is %v, in row %d", column.name, column.want, count, len(column.values), column.values[first], first)
	}
	return len(j.Reasons) > said
}

// enough reports whether a cohort may be decided on, and says why not.
func (c *Cohort) enough(task string, g Gate, j *Judgement) bool {
	said := len(j.Reasons)
	if len(c.Time) < g.Rows {
		j.because("too little data: %d complete rows, and the gate judges %d", len(c.Time), g.Rows)
	}
	if n := len(c.Label); task == binary && n > 0 && slices.Min(c.Label) == slices.Max(c.Label) {
		j.because("all %d labels are %v: one class does not tell models apart", n, c.Label[0])
	}
	return len(j.Reasons) == said
}
