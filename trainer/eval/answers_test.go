package eval

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// The known answers of testdata/metrics.json come from scikit-learn, scipy and
// statsmodels. Each id is either checked here or named with the reason why not.

const answersExist, answersChecked = 42, 33

var answersLeftOut = map[string]string{
	"delong":                   "the interval of an AUC: models are judged by their loss",
	"mcnemar":                  "a test of accuracy at a threshold: models are judged by their loss",
	"mcnemar-small":            "as mcnemar",
	"mcnemar-none":             "as mcnemar",
	"multiple-bonferroni":      "Holm rejects all that it does, and more",
	"multiple-fdr_bh":          "a veto needs the chance of any false one, which Holm bounds",
	"jackknife-mean":           "the bootstrap takes its place",
	"gate-threshold-inclusive": "the gate has no threshold of a value, but of a paired difference",
	"gate-relative":            "the margin is absolute",
}

type answer struct {
	ID       string
	Input    map[string]json.RawMessage
	Expected json.RawMessage

	all map[string]answer
}

// column returns an input as doubles.
func (a answer) column(t *testing.T, name string) []float64 {
	t.Helper()
	var values []any
	if err := json.Unmarshal(a.Input[name], &values); err != nil {
		t.Fatalf("%s of %s: %v", name, a.ID, err)
	}
	column := make([]float64, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case float64:
			column[i] = v
		case string:
			column[i] = math.NaN() // the file has no other text
		}
	}
	return column
}

func (a answer) number(t *testing.T, name string) float64 {
	t.Helper()
	return decoded[float64](t, a.Input[name])
}

func decoded[T any](t *testing.T, text json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// want returns an expected number. "NaN" and "undefined" are NaN.
func (a answer) want(t *testing.T, name string) float64 {
	t.Helper()
	v, ok := decoded[map[string]any](t, a.Expected)[name]
	if !ok {
		t.Fatalf("%s expects no %s", a.ID, name)
	}
	if x, ok := v.(float64); ok {
		return x
	}
	return math.NaN()
}

// near fails unless got is within 1e-12 of want, the file's tolerance for all
// that has no other, or both are NaN.
func near(t *testing.T, what string, got Number, want float64) {
	t.Helper()
	within(t, what, float64(got), want, 1e-12)
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

type metric func(label, score, weight []float64) Measure

// by returns a check of one metric against an expectation of its name.
func by(m metric, name string) func(*testing.T, answer) {
	return func(t *testing.T, a answer) {
		var weight []float64
		if a.Input["w"] != nil {
			weight = a.column(t, "w")
		}
		y := a.column(t, "y")
		got := m(y, a.column(t, "p"), weight)
		near(t, name, got.Value, a.want(t, name))
		if got.Rows != len(y) || got.Excluded != 0 {
			t.Errorf("%d rows and %d excluded, want all %d", got.Rows, got.Excluded, len(y))
		}
	}
}

var allMetrics = map[string]metric{
	"log loss": LogLoss, "AUC": AUC, "average precision": AveragePrecision, "Brier": Brier, "calibration": Calibration,
	"normalised entropy": NormalisedEntropy, "RMSE": RMSE, "MAE": MAE, "R2": R2,
	"ECE": func(label, score, _ []float64) Measure { return ECE(label, score, 10, EqualWidth) },
}

func TestKnownAnswers(t *testing.T) {
	text, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []answer }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(*testing.T, answer){
		"auc-ties": by(AUC, "auc"), "auc-all-equal": by(AUC, "auc"), "auc-one-class": by(AUC, "auc"), "auc-weighted": by(AUC, "auc"),
		"logloss-basic": by(LogLoss, "log_loss"), "logloss-weighted": by(LogLoss, "log_loss"), "logloss-clip": checkClip,
		"brier": by(Brier, "brier"), "pr-auc": by(AveragePrecision, "average_precision"),
		"normalized-entropy": by(NormalisedEntropy, "ne"), "calibration-ratio": by(Calibration, "calibration"),
		"ece": checkECE, "ece-edge": checkECE, "regression": checkRegression, "r2-constant": checkConstant,
		"empty": checkEmpty, "nan-prediction": checkNaN,
		"paired-logloss": checkPaired, "paired-bootstrap": checkBootstrap, "multiple-holm": checkHolm, "slices": checkSlices,
		"gate-missing-metric": checkMissing, "gate-zero-baseline": checkZero, "gate-no-thresholds": checkNoThresholds, "gate-ci-noninferiority": checkDecision, "gate-ci-inconclusive": checkDecision, "gate-ci-fail": checkDecision,
	}
	all := make(map[string]answer)
	for _, a := range file.Cases {
		all[a.ID] = a
		if strings.HasPrefix(a.ID, "wilson-") {
			checks[a.ID] = checkWilson
		}
	}
	checked := 0
	for _, a := range file.Cases {
		a.all = all
		check, ok := checks[a.ID]
		switch {
		case ok:
			checked++
			t.Run(a.ID, func(t *testing.T) { check(t, a) })
		case answersLeftOut[a.ID] == "":
			t.Errorf("%s is neither checked nor left out for a reason", a.ID)
		}
	}
	if len(file.Cases) != answersExist || checked != answersChecked || checked+len(answersLeftOut) != answersExist {
		t.Errorf("%d cases, %d checked and %d left out, want %d, %d and the rest", len(file.Cases), checked, len(answersLeftOut), answersExist, answersChecked)
	}
}

func checkClip(t *testing.T, a answer) {
	within(t, "log loss", float64(LogLoss(a.column(t, "y"), a.column(t, "p"), nil).Value), a.want(t, "log_loss"), 1e-9)
	if a.number(t, "clip") != clip {
		t.Errorf("clipped at %v, the answer is for %s", clip, a.Input["clip"])
	}
}

func checkECE(t *testing.T, a answer) {
	y, p := a.column(t, "y"), a.column(t, "p")
	for name, got := range map[string]Measure{
		"ece_10_equal_width": ECE(y, p, 10, EqualWidth),
		"ece_10_equal_count": ECE(y, p, 10, EqualCount),
		"ece_15_equal_width": ECE(y, p, 15, EqualWidth),
		"log_loss":           LogLoss(y, p, nil),
		"auc":                AUC(y, p, nil),
		"average_precision":  AveragePrecision(y, p, nil),
	} {
		if a.ID == "ece" || name == "ece_10_equal_width" {
			near(t, name, got.Value, a.want(t, name))
		}
	}
}

func checkRegression(t *testing.T, a answer) {
	for name, m := range map[string]metric{"rmse": RMSE, "mae": MAE, "r2": R2} {
		by(m, name)(t, a)
	}
}

func checkConstant(t *testing.T, a answer) {
	by(R2, "r2")(t, a)
}

func checkEmpty(t *testing.T, a answer) {
	for name, m := range allMetrics {
		got := m(a.column(t, "y"), a.column(t, "p"), nil)
		near(t, name, got.Value, a.want(t, "value"))
		if got.Rows != 0 {
			t.Errorf("%s over no rows says %d", name, got.Rows)
		}
	}
}

func checkNaN(t *testing.T, a answer) {
	y, p := a.column(t, "y"), a.column(t, "p")
	near(t, "log loss", LogLoss(y, p, nil).Value, a.want(t, "log_loss_rest"))
	for name, m := range allMetrics {
		if got := m(y, p, nil); got.Excluded != int(a.want(t, "excluded")) || got.Rows != 1 {
			t.Errorf("%s: %d rows and %d excluded, want 1 and 1", name, got.Rows, got.Excluded)
		}
	}
}

func checkWilson(t *testing.T, a answer) {
	want := decoded[struct{ Wilson [2]float64 }](t, a.Expected).Wilson
	lo, hi := Wilson(int(a.number(t, "successes")), int(a.number(t, "n")), a.number(t, "level"))
	within(t, "lower end", lo, want[0], 1e-9)
	within(t, "upper end", hi, want[1], 1e-9)
}

// pairedDifferences are those of the two models of "ece" and "delong", row by
// row, and a time for each row.
func pairedDifferences(t *testing.T, a answer) (times []int64, diffs []float64) {
	t.Helper()
	y, p1, p2 := a.all["ece"].column(t, "y"), a.all["ece"].column(t, "p"), a.all["delong"].column(t, "p2")
	for i := range y {
		times = append(times, int64(i))
		diffs = append(diffs, logLoss(y[i], p1[i])-logLoss(y[i], p2[i]))
	}
	return times, diffs
}

// checkPaired holds the parts of the interval against the paired t-test: the
// mean, its standard error, and Student's quantile and tail.
func checkPaired(t *testing.T, a answer) {
	times, diffs := pairedDifferences(t, a)
	blocks, _ := cut(times, diffs, 0, 1)
	m, se := ratio(blocks)
	within(t, "mean", m, a.want(t, "mean"), 1e-9)
	within(t, "standard error", se, a.want(t, "se"), 1e-9)
	within(t, "p-value", 2*studentTail(math.Abs(m/se), float64(len(diffs)-1)), a.want(t, "p_two_sided"), 1e-9)
	want := decoded[struct {
		CI [2]float64 `json:"ci95_t"`
	}](t, a.Expected).CI
	half := se * studentQuantile(0.975, float64(len(diffs)-1))
	within(t, "lower end", m-half, want[0], 1e-9)
	within(t, "upper end", m+half, want[1], 1e-9)
}

func checkBootstrap(t *testing.T, a answer) {
	want := decoded[struct {
		CI [2]float64 `json:"ci95_percentile"`
	}](t, a.Expected).CI
	times, diffs := pairedDifferences(t, a)
	lo, _, hi, err := Interval(times, diffs, Bootstrap{Confidence: 0.975, Periods: 1, Replicates: 2000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	tolerance := 0.1 * (want[1] - want[0]) // of another generator
	within(t, "lower end", lo, want[0], tolerance)
	within(t, "upper end", hi, want[1], tolerance)
}

func checkHolm(t *testing.T, a answer) {
	want := decoded[struct {
		Adjusted []float64
		Reject   []bool
	}](t, a.Expected)
	adjusted, reject := Holm(a.column(t, "p"), a.number(t, "alpha"))
	for i := range want.Adjusted {
		within(t, "adjusted", adjusted[i], want.Adjusted[i], 1e-12)
		if reject[i] != want.Reject[i] {
			t.Errorf("test %d: reject %v, want %v", i, reject[i], want.Reject[i])
		}
	}
}

func checkSlices(t *testing.T, a answer) {
	c := &Cohort{
		Label: a.all["ece"].column(t, "y"), Candidate: a.all["ece"].column(t, "p"), Champion: a.all["ece"].column(t, "p"),
		Slices: map[string][]string{},
	}
	segment, hour := decoded[[]*string](t, a.Input["segment"]), decoded[[]int](t, a.Input["hour"])
	for i := range segment {
		value := "segment=null" // a null is a slice of its own
		if segment[i] != nil {
			value = "segment=" + *segment[i]
		}
		c.Time = append(c.Time, int64(i))
		c.Slices["overall"] = append(c.Slices["overall"], "overall")
		c.Slices["segment"] = append(c.Slices["segment"], value)
		c.Slices["both"] = append(c.Slices["both"], value+",hour="+string(rune('0'+hour[i])))
	}
	want := decoded[map[string]map[string]json.RawMessage](t, a.Expected)
	j := Judge(binary, Gate{Slices: []string{"overall", "segment", "both"}}, 0, c)
	if len(j.Slices) != len(want) {
		t.Fatalf("%d slices, want %d", len(j.Slices), len(want))
	}
	for _, s := range j.Slices {
		w := want[s.Value]
		if n, positives := decoded[int](t, w["n"]), decoded[int](t, w["positives"]); s.Rows != n || s.Positives != positives {
			t.Errorf("%s: %d rows and %d positives, want %d and %d", s.Value, s.Rows, s.Positives, n, positives)
		}
		within(t, s.Value+": log loss", float64(s.Candidate.Loss), decoded[float64](t, w["log_loss"]), 1e-9)
		within(t, s.Value+": AUC", float64(s.Candidate.AUC), decoded[float64](t, w["auc"]), 1e-9)
		right := math.Round(decoded[float64](t, w["accuracy"]) * float64(s.Rows))
		lo, hi := Wilson(int(right), s.Rows, 0.95)
		ends := decoded[[2]float64](t, w["accuracy_wilson95"])
		within(t, s.Value+": lower end", lo, ends[0], 1e-9)
		within(t, s.Value+": upper end", hi, ends[1], 1e-9)
	}
}

// checkNoThresholds holds that a gate in which nothing is set has thresholds
// all the same.
func checkNoThresholds(t *testing.T, a answer) {
	c := &Cohort{Time: make([]int64, 4), Label: []float64{0, 1, 0, 1}, Candidate: []float64{0, 1, 0, 1}, Champion: []float64{1, 0, 1, 0}}
	j := Judge(binary, Gate{}, 0, c)
	if want := decoded[map[string]string](t, a.Expected)["verdict"]; want != "not blessed, recorded with reason" {
		t.Fatalf("the answer is another: %s", want)
	}
	if j.Verdict == Promote || len(j.Reasons) == 0 {
		t.Errorf("an empty gate says %s for %q", j.Verdict, j.Reasons)
	}
}

// checkMissing takes away the candidate's scores: without them there is no
// metric.
func checkMissing(t *testing.T, a answer) {
	c := &Cohort{Time: make([]int64, 2), Label: []float64{0, 1}, Champion: []float64{0.5, 0.5}}
	j := Judge(binary, Gate{}, 0, c)
	if pass := j.Verdict == Promote; pass != decoded[map[string]any](t, a.Expected)["pass"] || len(j.Reasons) == 0 {
		t.Errorf("without scores the gate says %s for %q", j.Verdict, j.Reasons)
	}
}

// checkZero has a champion without loss. Our margin is absolute, so nothing is
// divided by it, and the gate need not give that for its reason.
func checkZero(t *testing.T, a answer) {
	c := &Cohort{}
	for day := range 200 {
		c.Time = append(c.Time, int64(day))
		c.Label = append(c.Label, 1)
		c.Champion = append(c.Champion, 1+a.number(t, "baseline"))
		c.Candidate = append(c.Candidate, 1+a.number(t, "candidate"))
	}
	j := Judge(regression, Gate{Rows: 200}, 0, c)
	if pass := j.Verdict == Promote; pass != decoded[map[string]any](t, a.Expected)["pass"] || j.Verdict != Reject {
		t.Errorf("against a champion without loss the gate says %s for %q", j.Verdict, j.Reasons)
	}
}

func checkDecision(t *testing.T, a answer) {
	ends := a.column(t, "difference_ci95")
	verdicts := map[string]Verdict{"pass": Promote, "inconclusive": Inconclusive, "fail": Reject}
	want := verdicts[decoded[map[string]string](t, a.Expected)["verdict"]]
	got := decide(Bounds{Lo: Number(ends[0]), Hi: Number(ends[1])}, Number(a.number(t, "margin")))
	if got != want {
		t.Errorf("bounds %v against %s: %q, want %q", ends, a.Input["margin"], got, want)
	}
}
