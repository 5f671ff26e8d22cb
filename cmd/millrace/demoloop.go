package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

// A loopResult is what the loop of the demo has done.
type loopResult struct {
	Predictions  int64       `json:"predictions"`
	Examples     int64       `json:"examples"`
	Unanswered   int64       `json:"unanswered"`
	Pending      int64       `json:"pending"`
	Candidates   int         `json:"candidates"`
	Inconclusive int         `json:"inconclusive"`
	Approved     int         `json:"approved"`
	Deployed     int         `json:"deployed"`
	Dropped      int         `json:"dropped_requests"`
	RolledBack   int         `json:"rolled_back"`
	LogLoss      demoLosses  `json:"logloss"`
	Gain         interval    `json:"logloss_gain_interval"`
	GainOfFirst  interval    `json:"logloss_gain_over_first_interval"`
	AUC          eval.Number `json:"auc"`
	Seconds      *float64    `json:"seconds_candidate_to_deployed"`

	waiting int // for a person's review
}

// Losses are over the predictions that a champion has answered.
type demoLosses struct {
	Champion eval.Number `json:"champion"`
	BaseRate eval.Number `json:"base_rate"`
	First    eval.Number `json:"first"`
}

// An interval is a lower and an upper bound.
type interval [2]eval.Number

func intervalOf(b eval.Bounds) interval { return interval{b.Lo, b.Hi} }

// A demoLoop is the loop in step with the replay: a day is over when its
// outcomes are joined, what is due is trained and judged, and what is approved
// has taken its next step. So thirteen years in half a minute are what they would
// have been day by day.
type demoLoop struct {
	*demo
	registry *registry.Registry
	models   *serve.Models
	trainer  *trainer.Loop
	deployer *deploy.Deployer
	told     map[int]bool // versions in review that the terminal has shown
	dropped  int
}

func (d *demo) newLoop() (*demoLoop, error) {
	keys, err := bundle.OpenKeys(d.opened.project.KeysDir())
	if err != nil {
		return nil, err
	}
	reg := d.opened.registry
	return &demoLoop{
		demo: d, registry: reg, models: d.opened.models, told: map[int]bool{},
		trainer: trainer.New(trainerConfig(d.opened, reg, keys)), deployer: deploy.New(deployerConfig(d.opened, reg)),
	}, nil
}

func (l *demoLoop) close() {
	l.trainer.Close()
	l.deployer.Close()
}

// asked takes in a prediction, or that there was none.
func (l *demoLoop) asked(e *stocks.Event, p *client.Prediction, err error) error {
	if err != nil {
		l.dropped++
		l.app.log.Warn("a prediction was not answered", "id", e.ID(), "error", err)
		return nil
	}
	l.screen.predicted(e.Symbol, p)
	return nil
}

// settleLimit is for how long a day may take to settle. A training takes less
// than a second.
const settleLimit = time.Minute

// settle lets a day come to its end.
func (l *demoLoop) settle(ctx context.Context, day time.Time) error {
	err := l.await(ctx, "the outcomes of "+day.Format(time.DateOnly), func() (bool, error) {
		err := l.trainer.Step(ctx)
		return l.trainer.Passed(stocks.Model) >= day.UnixMicro(), err
	})
	if err != nil {
		return err
	}
	if err := l.review(ctx); err != nil {
		return err
	}
	if err := l.deployer.Step(ctx); err != nil {
		return err
	}
	return l.models.Refresh(ctx)
}

// await calls joined until it says that the join has done something.
func (l *demoLoop) await(ctx context.Context, what string, joined func() (bool, error)) error {
	for began := time.Now(); ; {
		if ok, err := joined(); ok || err != nil {
			return err
		}
		if time.Since(began) > settleLimit {
			return fmt.Errorf("%s were not joined within %v: %v", what, settleLimit, l.server.host.Problems())
		}
		if err := sleep(ctx, 100*time.Microsecond); err != nil {
			return err
		}
	}
}

// joined reports whether the join has committed all that was asked and became
// known. What is answered is in the log or the spool, and the join may be behind:
// no outcome waits for the predictions of the last day.
func (l *demoLoop) joined(ctx context.Context) (bool, error) {
	if waiting, _, _ := l.spool.Waiting(); waiting > 0 {
		return false, nil
	}
	topic := feedback.Topic(l.opened.project.Name)
	missing, err := l.cluster.Partitions(ctx, topic)
	if err != nil {
		return false, err
	}
	for _, s := range l.server.host.Status() {
		if s.Stage != "join" {
			continue
		}
		_, end, err := l.cluster.Bounds(ctx, topic, s.Partition)
		if err != nil || s.Progress.Next < end {
			return false, err
		}
		missing--
	}
	return missing == 0, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// demoReviewer approves where the demo is told to.
const demoReviewer = "demo --approve"

// keep goes on without the days, until ctx ends.
func (l *demoLoop) keep(ctx context.Context) error {
	return runStages(ctx, l.app.log, l.trainer.Run, l.deployer.Run)
}

// review approves what the gate has promoted, or says how to.
func (l *demoLoop) review(ctx context.Context) error {
	open, err := l.registry.VersionsIn(ctx, stocks.Model, registry.Review, registry.Approved, registry.Shadow, registry.Champion)
	if err != nil {
		return err
	}
	for _, v := range open {
		switch {
		case v.State != registry.Review:
		case l.Approve && betterThan(&v, open):
			// One learner's candidate is as good as the gate wants, and another's of the
			// same examples is better: that one is approved.
		case l.Approve:
			err := l.registry.Approve(ctx, v.Model, v.Number, demoReviewer, "the gate promotes it")
			if err != nil && !errors.Is(err, registry.ErrRefused) && !errors.Is(err, registry.ErrConflict) {
				return err
			}
		case !l.told[v.Number]:
			l.screen.note(fmt.Sprintf("Version %d waits for your review: %s\n  To approve it: %s models approve -p %s %s %d",
				v.Number, v.Reasons[0], self(), filepath.Join(l.dir, "stocks.yaml"), v.Model, v.Number))
		}
		l.told[v.Number] = true
	}
	return nil
}

// betterThan reports whether another that waits, or is on its way, learned from the
// same examples, and so was judged on the same rows, and has less loss, or the same
// and came first.
func betterThan(v *registry.Version, open []registry.Version) bool {
	mine, ok := judgementOf(v)
	return ok && slices.ContainsFunc(open, func(other registry.Version) bool {
		its, ok := judgementOf(&other)
		return ok && other.Cutoff == v.Cutoff && other.Baseline == v.Baseline &&
			cmp.Or(cmp.Compare(its.Loss["candidate"], mine.Loss["candidate"]), cmp.Compare(other.Number, v.Number)) < 0
	})
}

// finish measures what came of the loop.
func (l *demoLoop) finish(ctx context.Context, r *loopResult) error {
	err := l.await(ctx, "the last predictions", func() (bool, error) { return l.joined(ctx) })
	if err != nil {
		return err
	}
	stats, err := l.client.JoinStats(ctx)
	if err != nil {
		return err
	}
	r.Predictions, r.Examples = stats.Predictions.Total, stats.Predictions.Matched
	r.Unanswered, r.Pending = stats.Predictions.Unanswered, stats.Predictions.Pending
	r.Dropped = l.dropped
	if err := l.versions(ctx, r); err != nil {
		return err
	}
	s, err := l.trainer.Served(ctx, stocks.Model)
	if err != nil {
		return err
	}
	undefined := eval.Undefined()
	if s.Rows == 0 {
		s.Champion, s.BaseRate, s.First, s.AUC = undefined, undefined, undefined, undefined
		s.Gain = eval.Bounds{Lo: undefined, Mean: undefined, Hi: undefined}
		s.GainOfFirst = s.Gain
	}
	r.LogLoss = demoLosses{s.Champion, s.BaseRate, s.First}
	r.Gain, r.GainOfFirst, r.AUC = intervalOf(s.Gain), intervalOf(s.GainOfFirst), s.AUC
	return nil
}

// versions counts what became of the candidates.
func (l *demoLoop) versions(ctx context.Context, r *loopResult) error {
	versions, err := l.registry.Versions(ctx, stocks.Model)
	if err != nil {
		return err
	}
	created := map[int]time.Time{}
	for _, v := range versions {
		r.Candidates++
		created[v.Number] = v.Created
		if v.Verdict == string(eval.Inconclusive) {
			r.Inconclusive++
		}
		if v.Reviewer != "" && v.State != registry.Rejected {
			r.Approved++
		}
		if v.State == registry.RolledBack {
			r.RolledBack++
		}
		if v.State == registry.Review {
			r.waiting++
		}
	}
	rollouts, err := l.registry.Rollouts(ctx, stocks.Model)
	if err != nil {
		return err
	}
	var took []time.Duration
	for _, ro := range rollouts {
		if !ro.Switched.IsZero() {
			r.Deployed++
			took = append(took, ro.Switched.Sub(created[ro.Version]))
		}
	}
	if slices.Sort(took); len(took) > 0 {
		median := took[len(took)/2].Seconds()
		r.Seconds = &median
	}
	return nil
}

// summary says what the loop has done.
func (l *demoLoop) summary(r *loopResult) {
	w := l.stdout
	fmt.Fprintf(w, "%s predictions: %s answered by what came true, %d unanswered, %d pending, %d not served.\n",
		thousands(r.Predictions), thousands(r.Examples), r.Unanswered, r.Pending, r.Dropped)
	fmt.Fprintf(w, "%d candidates trained: %d inconclusive, %d wait for your review, %d approved, %d deployed, %d rolled back.\n",
		r.Candidates, r.Inconclusive, r.waiting, r.Approved, r.Deployed, r.RolledBack)
	if r.Deployed > 0 && r.LogLoss.Champion.Defined() {
		fmt.Fprintf(w, "Log loss of what the champions answered %v, of the base rate %v (better by %v to %v), of the first champion alone %v; AUC %v.\n",
			r.LogLoss.Champion, r.LogLoss.BaseRate, r.Gain[0], r.Gain[1], r.LogLoss.First, r.AUC)
	}
	fmt.Fprintf(w, "See them with: %s models list -p %s\n", self(), filepath.Join(l.dir, "stocks.yaml"))
}
