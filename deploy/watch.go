package deploy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer/eval"
)

const (
	// maxWaiting bounds the answers that wait for a partition that is behind:
	// 8 MiB. Beyond it the oldest no longer wait.
	maxWaiting = 1 << 18

	// hugeLoss is a difference of losses whose squares do not overflow. Squared
	// errors reach it where a regression predicts 1e50.
	hugeLoss = 1e100
)

// A watch compares a champion with the one before it on delayed labels: on the
// rows that both have scored, in the order in which their labels became known.
// It is pure, and what it comes to is a function of the topic: when one looks
// does not matter.
type watch struct {
	model   *Model
	version int
	before  int

	passed  []int64  // by partition: all that was known before this time has been read
	waiting []answer // not known before all of passed

	differs *eval.Watch
	last    int64   // the time of its newest answer
	sum     float64 // of its differences
	huge    string  // an answer after which nothing needs to be compared; empty: none
	ended   string  // why nothing can be compared any more; empty: it can

	unanswered int // predictions that the version answered, and no label came
	unpaired   int // labels of predictions that only the version has scored
}

// An answer is a label that became known.
type answer struct {
	known     int64 // microseconds
	partition int
	offset    int64
	diff      float64 // the version's loss less that of the one before
}

func newWatch(m *Model, version, before int) *watch {
	return &watch{
		model: m, version: version, before: before, last: math.MinInt64,
		differs: eval.NewWatch(eval.WatchConfig{Confidence: m.Steps.Confidence, WorseBy: m.Steps.WorseBy, Horizon: m.Horizon}),
	}
}

// take takes a record of the examples topic. The first label of a prediction
// counts: what the watch has seen it cannot take back, so that corrections are
// left out, whenever they come.
func (w *watch) take(e *pipeline.ExampleAt) {
	for len(w.passed) <= e.Partition {
		w.passed = append(w.passed, math.MinInt64)
	}
	p := &e.Prediction
	if e.Kind == feedback.Passed {
		w.passed[e.Partition] = max(w.passed[e.Partition], e.Known)
		return
	}
	if p.Model != w.model.Name || p.Score.Version != w.version || e.Correction {
		return
	}
	switch {
	case e.Kind == feedback.Unanswered:
		w.unanswered++
	case p.Shadow == nil || p.Shadow.Version != w.before:
		w.unpaired++
	default:
		diff := eval.RowLoss(string(w.model.Task), e.Label, p.Score.Value) - eval.RowLoss(string(w.model.Task), e.Label, p.Shadow.Value)
		if !(diff >= -hugeLoss) { // not even the one before is to be compared with
			w.unpaired++
			return
		}
		w.waiting = append(w.waiting, answer{e.Known, e.Partition, e.Offset, diff})
	}
}

// feed compares what every partition has passed: labels that a partition adds
// later became known then or later. It stops at the verdict.
func (w *watch) feed(partitions int) error {
	until := int64(math.MinInt64)
	if len(w.passed) == partitions && partitions > 0 {
		until = slices.Min(w.passed)
	}
	slices.SortFunc(w.waiting, func(a, b answer) int {
		return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	n := 0
	for ; n < len(w.waiting); n++ {
		a := &w.waiting[n]
		worse, over := w.verdict()
		if worse != "" || over || a.known >= until && len(w.waiting)-n <= maxWaiting {
			break
		}
		if a.diff > hugeLoss {
			w.huge = fmt.Sprintf("an answer's loss is greater than that of %s by %.3g", named(w.before), a.diff)
			break
		}
		w.last = max(w.last, a.known)
		if err := w.differs.Add(w.last, a.diff); err != nil {
			return err
		}
		w.sum += a.diff
	}
	w.waiting = slices.Delete(w.waiting, 0, n)
	return nil
}

// verdict returns why the version is worse, if it is, and else whether the watch
// is over. It is not over before it could have seen anything: the answers have to
// fill blocks enough, each of the label's horizon at least, for a verdict to be
// possible.
func (w *watch) verdict() (worse string, over bool) {
	found, lo, _, rows := w.differs.Verdict()
	switch {
	case w.huge != "":
		return w.huge, false
	case found:
		return fmt.Sprintf("its loss is greater than that of %s by at least %.4g, and %.4g is put up with, after %d answers", named(w.before), lo, w.model.Steps.WorseBy, rows), false
	}
	return "", w.ended != "" || rows >= w.model.Steps.Watch && !math.IsInf(lo, -1)
}

// A watchReport is what a rollout in phase watch has seen.
type watchReport struct {
	Answers    int      `json:"answers"`           // labels of predictions that both versions have scored
	Awaited    int      `json:"awaited"`           // how many more until the watch is over
	Blocks     int      `json:"blocks"`            // stretches of time that the answers fill
	Waits      string   `json:"waits,omitempty"`   // why it is not over though no more are awaited
	Ended      string   `json:"ended,omitempty"`   // why it is over all the same
	Worse      *float64 `json:"worse_by"`          // mean difference of losses; null: no answers
	AtLeast    *float64 `json:"worse_by_at_least"` // its lower bound; null: too few blocks
	Unanswered int      `json:"unanswered"`        // predictions without a label
	Unpaired   int      `json:"unpaired"`          // labels of predictions that the one before has not scored
}

func (w *watch) report() json.RawMessage {
	_, lo, blocks, rows := w.differs.Verdict()
	r := watchReport{Answers: rows, Awaited: max(0, w.model.Steps.Watch-rows), Blocks: blocks, Ended: w.ended, Unanswered: w.unanswered, Unpaired: w.unpaired}
	if rows > 0 {
		mean := w.sum / float64(rows)
		r.Worse = &mean
	}
	if !math.IsInf(lo, -1) {
		r.AtLeast = &lo
	} else if r.Awaited == 0 {
		r.Waits = fmt.Sprintf("the answers are of too short a time for a verdict; it takes more blocks, each of %v or longer", w.model.Horizon)
	}
	return encode(r)
}

// named is a version in a sentence.
func named(version int) string {
	if version == 0 {
		return "the base rate"
	}
	return fmt.Sprintf("version %d", version)
}
