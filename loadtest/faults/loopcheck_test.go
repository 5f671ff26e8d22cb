package faults

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

// loopLogs are the topics of a loop, by partition.
type loopLogs struct {
	feedback [][]feedback.Record
	examples [][][]byte // without those that repeat an earlier number
	repeats  int        // how many those are
}

// read reads the topics. A repeated example that is not its first, byte for byte,
// is an error.
func (w *loopWorld) read() *loopLogs {
	w.t.Helper()
	logs := &loopLogs{}
	for _, records := range w.topic(feedback.Topic(w.project.Name)) {
		var part []feedback.Record
		for _, value := range records {
			rec, err := feedback.Decode(value)
			if err != nil {
				w.t.Fatalf("%v: %s", err, value)
			}
			part = append(part, rec)
		}
		logs.feedback = append(logs.feedback, part)
	}
	for p, records := range w.topic(feedback.ExamplesTopic(w.project.Name)) {
		var fresh [][]byte
		var last int64
		numbered := map[int64][]byte{}
		for _, value := range records {
			e, err := feedback.DecodeExample(value)
			switch {
			case err != nil:
				w.t.Fatalf("%v: %s", err, value)
			case e.Seq > last:
				fresh, last, numbered[e.Seq] = append(fresh, value), e.Seq, value
			case !bytes.Equal(numbered[e.Seq], value):
				w.t.Errorf("partition %d of the examples: after number %d comes\n%s\nand with its number there was\n%s", p, last, value, numbered[e.Seq])
			default:
				logs.repeats++
			}
		}
		logs.examples = append(logs.examples, fresh)
	}
	return logs
}

func (w *loopWorld) topic(name string) [][][]byte {
	w.t.Helper()
	n, err := w.cluster.Partitions(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	values := make([][][]byte, n)
	for p := range n {
		r := w.cluster.Reader(name, p, 0)
		for end := int64(1); int64(len(values[p])) < end; {
			batch, err := r.Poll(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			for _, rec := range batch.Records {
				values[p] = append(values[p], bytes.Clone(rec.Value))
			}
			end = batch.HighWater
		}
		r.Close()
	}
	return values
}

// prediction is what tells an answer from others of the same id.
type prediction struct {
	time    int64
	version int
	bundle  string
	score   float64
}

// checkAcknowledged wants each prediction that was acknowledged in the log, as
// it was answered, and each in the log to be what its version scores.
func (w *loopWorld) checkAcknowledged(a *asker, logs *loopLogs) {
	w.t.Helper()
	written := map[string][]prediction{}
	for _, records := range logs.feedback {
		for _, rec := range records {
			if p := rec.Prediction; p != nil {
				written[p.ID] = append(written[p.ID], prediction{p.Time, p.Score.Version, p.Score.Bundle, p.Score.Value})
				w.checkScore(p)
			}
		}
	}
	lost, again := 0, 0
	for id, p := range a.acked {
		if !slices.Contains(written[id], prediction{p.AsOf.UnixMicro(), p.Version, p.Bundle, p.Score}) {
			lost++
			w.t.Errorf("prediction %s was answered as %+v, and the log has %+v", id, p, written[id])
		}
		again += max(len(written[id])-1, 0)
	}
	if events := w.events(); len(a.acked) != len(events) || len(written) != len(events) {
		w.t.Errorf("%d predictions were acknowledged and %d are in the log, of %d events", len(a.acked), len(written), len(events))
	}
	w.t.Logf("%d predictions acknowledged, %d lost; %d were asked again and are in the log more than once", len(a.acked), lost, again)
}

// checkScore scores what a model saw, as the server must have.
func (w *loopWorld) checkScore(p *feedback.Prediction) {
	w.t.Helper()
	scores := []feedback.Score{p.Score}
	if p.Shadow != nil {
		scores = append(scores, *p.Shadow)
	}
	for _, s := range scores {
		if s.Version == registry.BaseRateVersion {
			continue
		}
		got, err := w.bundle(s.Bundle).Score(p.Vector)
		if err != nil || got != s.Value {
			w.t.Errorf("prediction %s has %+v, and its bundle scores %v, %v", p.ID, s, got, err)
		}
	}
}

func (w *loopWorld) bundle(id string) *bundle.Bundle {
	w.t.Helper()
	if w.bundles[id] == nil {
		b, err := bundle.Open(w.project.ModelsDir(), id, w.keys.Trusted())
		if err != nil {
			w.t.Fatal(err)
		}
		w.bundles[id] = b
	}
	return w.bundles[id]
}

// events are those that were replayed.
func (w *loopWorld) events() []stocks.Event {
	return slices.Concat(stocks.Days(stocks.Events())[:loopDays]...)
}

// labels are the labels of the predictions that have one, by id: whether the next
// day of the same stock moves by 2 % or more.
func (w *loopWorld) labels() map[string]float64 {
	labels, last := map[string]float64{}, map[string]string{}
	for _, e := range w.events() {
		if before, ok := last[e.Symbol]; ok {
			labels[before] = labelOf(&e)
		}
		last[e.Symbol] = e.ID()
	}
	return labels
}

func labelOf(e *stocks.Event) float64 {
	if math.Abs(e.Close/e.Open-1) >= 0.02 {
		return 1
	}
	return 0
}

// checkCounts compares the counts of the views and of the join with those of a
// loop that nothing disturbed: each day its outcomes, a tick, and its predictions.
func (w *loopWorld) checkCounts(logs *loopLogs) {
	w.t.Helper()
	plan := w.project.Plan(stocks.View)
	var counts features.Counts
	for i := range plan.Source.Partitions {
		s, err := w.store.State(w.t.Context(), online.Shard{Space: plan.Space(w.project.Name), Index: i})
		if err != nil {
			w.t.Fatal(err)
		}
		counts.Applied += s.Progress.Counts.Applied
		counts.Dead += s.Progress.Counts.Dead
	}
	if want := int64(len(w.events())); counts.Applied != want || counts.Dead != 0 {
		w.t.Errorf("the view has applied %d events and buried %d, want %d and none", counts.Applied, counts.Dead, want)
	}
	for d, err := range streams.ReadDeadLetters(w.t.Context(), w.cluster, pipeline.DeadLetters(w.project.Name)) {
		w.t.Errorf("a dead letter: %+v, %v", d, err)
	}
	got, err := pipeline.JoinStats(w.t.Context(), w.project.Name, w.store, len(logs.feedback))
	if err != nil {
		w.t.Fatal(err)
	}
	calm := newCalmLog(len(logs.feedback), w.project.Sources[0].Topic)
	for _, day := range stocks.Days(w.events()) {
		calm.add(day)
	}
	_, want := w.fold(calm.records)
	if got.Outcomes != want.Outcomes || got.Predictions != want.Predictions || got.Details.Unanswered != want.Details.Unanswered || got.Details.Corrections != want.Details.Corrections {
		w.t.Errorf("the join has counted\n%+v, undisturbed it counts\n%+v", got, want)
	}
	if n := int64(len(w.labels())); want.Predictions.Matched != n || want.Outcomes.Effective != n || want.Predictions.Total != counts.Applied {
		w.t.Errorf("undisturbed the join counts %+v, and %d of %d predictions have a label", want, n, counts.Applied)
	}
	w.t.Logf("join: %+v", got)
}

// A calmLog is what the feedback topic is without a kill.
type calmLog struct {
	records [][]feedback.Record
	topic   string
	offsets []int64 // of the source, by partition
}

func newCalmLog(partitions int, topic string) *calmLog {
	return &calmLog{make([][]feedback.Record, partitions), topic, make([]int64, partitions)}
}

func (c *calmLog) add(day []stocks.Event) {
	at := day[0].Time.UnixMicro()
	for i := range day {
		e := &day[i]
		p := streams.PartitionOf([]byte(e.Symbol), len(c.records))
		o := &feedback.Outcome{At: &feedback.Position{Topic: c.topic, Partition: p, Offset: c.offsets[p]}, Model: stocks.Model, Key: e.Symbol, Time: at, Label: labelOf(e)}
		c.records[p] = append(c.records[p], feedback.Record{Outcome: o})
		c.offsets[p]++
	}
	for p := range c.records {
		c.records[p] = append(c.records[p], feedback.Record{Tick: &feedback.Tick{Time: at}})
	}
	for i := range day {
		e := &day[i]
		p := streams.PartitionOf([]byte(e.Symbol), len(c.records))
		c.records[p] = append(c.records[p], feedback.Record{Prediction: &feedback.Prediction{ID: e.ID(), Model: stocks.Model, Key: e.Symbol, Time: at, Set: "none"}})
	}
}

// fold joins partitions of the feedback topic in one go, each with an empty
// state, and returns the examples as they are written.
func (w *loopWorld) fold(partitions [][]feedback.Record) (examples [][][]byte, stats feedback.Stats) {
	w.t.Helper()
	rules := map[string]feedback.Rules{}
	for _, l := range w.joins().Labels {
		rules[l.Model] = l.Label.Rules()
	}
	for _, records := range partitions {
		shard, err := feedback.NewShard(rules, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		f := folded{shard: shard, rows: map[string]*feedback.Row{}}
		for offset, rec := range records {
			shard.At(int64(offset))
			if why := f.add(rec); why != nil {
				w.t.Errorf("the join refuses %+v: %+v", rec, why)
			}
		}
		examples, stats = append(examples, f.examples), stats.Add(shard.Stats())
	}
	return examples, stats
}

// A folded is what a partition of the feedback topic comes to.
type folded struct {
	shard    *feedback.Shard
	rows     map[string]*feedback.Row
	examples [][]byte
}

func (f *folded) add(rec feedback.Record) *features.Rejection {
	switch {
	case rec.Tick != nil:
		f.shard.Tick(rec.Tick.Time)
		var due []string
		at := map[string]int64{}
		for key, row := range f.rows {
			if at[key] = row.Due(); at[key] <= f.shard.Clock() {
				due = append(due, key)
			}
		}
		slices.SortFunc(due, func(a, b string) int { return cmp.Or(cmp.Compare(at[a], at[b]), strings.Compare(a, b)) })
		for _, key := range due {
			model, _, _ := strings.Cut(key, "/")
			f.shard.Expire(f.rows[key], model, f.emit)
		}
		f.shard.Pass(f.emit)
		return nil
	case rec.Outcome != nil && !f.shard.Origin(rec.Outcome):
		return nil
	}
	key := feedback.RowKey(rec.Model(), rec.Key())
	if f.rows[key] == nil {
		f.rows[key] = feedback.NewRow()
	}
	_, why := f.shard.Fold(rec, f.rows[key], f.emit)
	return why
}

func (f *folded) emit(e *feedback.Example) { f.examples = append(f.examples, e.AppendJSON(nil)) }

// checkReplay folds the feedback topic again: its examples are those that the
// killed joins wrote, byte for byte.
func (w *loopWorld) checkReplay(logs *loopLogs) {
	w.t.Helper()
	again, stats := w.fold(logs.feedback)
	n, size := 0, 0
	for p := range logs.examples {
		if !slices.EqualFunc(again[p], logs.examples[p], bytes.Equal) {
			w.t.Errorf("partition %d: the join has written %d examples, and its log gives %d, or others", p, len(logs.examples[p]), len(again[p]))
		}
		n += len(again[p])
		for _, e := range again[p] {
			size += len(e)
		}
	}
	got, err := pipeline.JoinStats(w.t.Context(), w.project.Name, w.store, len(logs.feedback))
	if err != nil || got != stats {
		w.t.Errorf("the join has counted\n%+v, %v, and its log gives\n%+v", got, err, stats)
	}
	w.t.Logf("the feedback topic folded again gives the same %d records of the examples topic, %d bytes, which the killed joins wrote with %d repeats", n, size, logs.repeats)
}

// checkExamples wants one example of each prediction that has a label, with that
// label, and none of the others.
func (w *loopWorld) checkExamples(logs *loopLogs) {
	w.t.Helper()
	labels, seen := w.labels(), map[string]bool{}
	for _, values := range logs.examples {
		for _, value := range values {
			e, err := feedback.DecodeExample(value)
			if err != nil {
				w.t.Fatal(err)
			}
			if e.Kind == feedback.Passed {
				continue
			}
			id := e.Prediction.ID
			want, ok := labels[id]
			if e.Kind != feedback.Labelled || e.Correction || !ok || e.Label != want || seen[id] {
				w.t.Errorf("example %s; want one of %s with label %v (%v)", value, id, want, ok)
			}
			seen[id] = true
		}
	}
	if len(seen) != len(labels) {
		w.t.Errorf("%d examples, want %d", len(seen), len(labels))
	}
}

// checkCandidates trains once more, from the examples alone: the runs are those
// that the killed trainers noted, with the same bundles.
func (w *loopWorld) checkCandidates() {
	w.t.Helper()
	dir := w.t.TempDir()
	r, err := registry.Open(filepath.Join(dir, "registry.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	c := w.trainerConfig()
	c.Registry, c.Bundles = r, filepath.Join(dir, "models")
	c.Log = slog.New(slog.DiscardHandler)
	c.SchemaFile = func(string) string { return filepath.Join(dir, "schema.yaml") }
	again := trainer.New(c)
	defer again.Close()
	if err := again.Step(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	got, want := w.runs(w.registry), w.runs(r)
	if !slices.Equal(got, want) {
		w.t.Errorf("the runs are\n%s\nand those of a trainer that nobody kills\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if events, every := len(w.events()), w.project.Models[0].Train.Every; len(want) < events/every-1 {
		w.t.Errorf("%d runs of %d events, one every %d", len(want), events, every)
	}
}

// runs are what a registry has of runs, oldest first.
func (w *loopWorld) runs(r *registry.Registry) []string {
	w.t.Helper()
	runs, err := r.Runs(w.t.Context(), stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, run := range slices.Backward(runs) {
		all = append(all, fmt.Sprintf("%s version %d bundle %s: %s", run.Status, run.Version, run.Bundle, run.Spec))
	}
	return all
}

// checkRegistry wants one champion, the one that serves, a way of each version
// that the registry allows, and a rollout that is open only while it waits.
func (w *loopWorld) checkRegistry() {
	w.t.Helper()
	ctx := w.t.Context()
	versions, err := w.registry.Versions(ctx, stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	now, err := w.registry.Serving(ctx, stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	ways := w.ways()
	bundles := map[string]bool{}
	for i, v := range versions {
		if v.Number != len(versions)-i || bundles[v.Bundle] {
			w.t.Errorf("version %d, bundle %s, is the %d-th, or its bundle is there twice", v.Number, v.Bundle, len(versions)-i)
		}
		bundles[v.Bundle] = true
		w.bundle(v.Bundle)
		if (v.State == registry.Champion) != (v.Number == now.Champion) {
			w.t.Errorf("version %d is %s, and version %d serves", v.Number, v.State, now.Champion)
		}
		if way := ways[v.Number]; way[len(way)-1] != string(v.State) && !(v.State == registry.Judging && len(way) == 1) {
			w.t.Errorf("version %d is %s, and came there by %v", v.Number, v.State, way)
		}
	}
	w.checkRollouts(now)
}

// ways are the states that each version has gone through. One that does not
// follow from that before is an error.
func (w *loopWorld) ways() map[int][]string {
	w.t.Helper()
	history, err := w.registry.History(w.t.Context(), stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortFunc(history, func(a, b registry.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	next := map[string][]string{
		"": {"trained"}, "trained": {"judged", "superseded"}, "judged": {"closed", "review", "superseded"}, "review": {"approved", "superseded"},
		"approved": {"shadow", "superseded"}, "shadow": {"champion"}, "champion": {"retired", "rolled_back"}, "retired": {"champion"},
	}
	ways := map[int][]string{}
	for _, e := range history {
		if e.What == "done" {
			continue
		}
		last := ""
		if way := ways[e.Version]; len(way) > 0 {
			last = way[len(way)-1]
		}
		if !slices.Contains(next[last], e.What) {
			w.t.Errorf("version %d: %q after %q", e.Version, e.What, last)
		}
		ways[e.Version] = append(ways[e.Version], e.What)
	}
	return ways
}

func (w *loopWorld) checkRollouts(now registry.Serving) {
	w.t.Helper()
	rollouts, err := w.registry.Rollouts(w.t.Context(), stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	champion, switched := registry.BaseRateVersion, 0
	for i, ro := range slices.Backward(rollouts) {
		open := ro.Phase == registry.InShadow || ro.Phase == registry.Watching
		if ro.Previous != champion || open && i != 0 || open != ro.Ended.IsZero() {
			w.t.Errorf("rollout %+v, beside version %d", ro, champion)
		}
		if !ro.Switched.IsZero() {
			switched++
		}
		if ro.Phase == registry.Watching || ro.Phase == registry.Done {
			champion = ro.Version
		}
	}
	if switched < 2 || champion != now.Champion {
		w.t.Fatalf("%d switches, the last to version %d, and version %d serves", switched, champion, now.Champion)
	}
	shadow := registry.NoVersion
	if last := rollouts[0]; last.Phase == registry.InShadow {
		shadow = last.Version
	} else if last.Phase == registry.Watching {
		shadow = last.Previous
	}
	if now.Shadow != shadow {
		w.t.Errorf("version %d is in shadow, want %d", now.Shadow, shadow)
	}
	w.t.Logf("%d switches; the last rollout is %s, of version %d, and has seen %s", switched, rollouts[0].Phase, rollouts[0].Version, rollouts[0].Report)
}

// checkTally wants the kills to have struck what they are for.
func (w *loopWorld) checkTally(a *asker) {
	w.t.Helper()
	w.tally[serving].busy = a.cut
	total := 0
	for _, p := range parts {
		n := w.tally[p]
		w.t.Logf("%s: %+v", p, *n)
		total += n.kills
		if n.kills < 5 || n.busy == 0 {
			w.t.Errorf("%s: %+v, which is too little", p, *n)
		}
	}
	if total < 20 {
		w.t.Errorf("%d kills", total)
	}
}
