package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

type backfillRowsCmd struct {
	projectFlag
	boundedFlags
	View []string `placeholder:"VIEW" help:"Only this view. May be repeated; without it, all views of the project."`
	From string   `enum:"topic,lake" default:"topic" placeholder:"topic|lake" help:"With lake, what the topics no longer have is taken from the project's lake. The default is topic."`
	JSON bool     `help:"Print a JSON object: {\"views\": [{\"view\", \"space\", \"records\", \"applied\", \"dropped\", \"duplicates\", \"dead\"}], \"seconds\"}."`
}

func (backfillRowsCmd) Help() string {
	return `Fills the rows of views up to the end that each partition of their topics has when the command starts, and ends. A view that was changed has a row space of its own: it is filled here while the pipeline goes on with the old project file, and "millrace-beam run" or "millrace pipeline" with the new file then goes on from there. A view that needs another key is re-keyed first.

Rows and progress are those that a pipeline makes of the same records, byte for byte. Where it goes on is in the online store: a backfill that was stopped or has failed goes on when it is started again. While a pipeline applies the same rows, it ends with an error.

With --from lake, events that a topic has lost to its retention are taken from the lake, whose folder all workers reach by the path of the project file. The topic must still have a record in each partition, and the lake all before. Re-keyed views are filled from topics alone.

Examples:

	millrace-beam backfill rows -p shop/project.yaml --parallelism 8
	millrace-beam backfill rows -p shop/project.yaml --view spend --from lake`
}

func (c *backfillRowsCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if !engines.Shared(p) {
		return usagef(`backfill is for several processes, which share Kafka and Redis: set kafka.addresses and store.redis in the project file`)
	}
	plans, err := c.plans(p)
	if err != nil {
		return err
	}
	job, err := newJob(a, c.projectFlag, p, c.name(p, "backfill"), 0, "")
	if err != nil {
		return err
	}
	b := beam.Backfill{Name: job.Name, Project: job.Project}
	if c.From == "lake" {
		if p.Lake.Off {
			return usagef("--from lake: the project has no lake")
		}
		b.Lake = p.Lake.Dir
	}
	if err := fixEnds(ctx, &b, p, plans); err != nil {
		return err
	}
	began := time.Now()
	if err := c.run(ctx, a, b.Pipeline()); err != nil {
		return err
	}
	return c.report(ctx, a, p, plans, time.Since(began))
}

// plans returns those of the views.
func (c *backfillRowsCmd) plans(p *project.Project) (plans []*features.Plan, err error) {
	if len(c.View) == 0 {
		return p.Plans, nil
	}
	for _, view := range c.View {
		plan := p.Plan(view)
		if plan == nil {
			return nil, noView(p, view)
		}
		plans = append(plans, plan)
	}
	for _, plan := range plans {
		if c.From == "lake" && !plan.Keyed() {
			return nil, usagef("--from lake: view %s is applied from a re-keyed topic, and the lake has the order of its source", plan.View.Name)
		}
	}
	return plans, nil
}

// fixEnds completes a backfill with the parts of plans and where they end.
func fixEnds(ctx context.Context, b *beam.Backfill, p *project.Project, plans []*features.Plan) (err error) {
	host, closeAll, err := openWorker(ctx, b.Project)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	if err := host.Prepare(ctx); err != nil {
		return err
	}
	rekeys := map[string]int{} // by topic
	for _, part := range host.Parts() {
		wanted := func(plan *features.Plan) bool {
			return part.Stage == "rekey" && part.View == plan.Topic(p.Name) || part.Stage == "pipeline" && part.View == plan.View.Name
		}
		i := slices.IndexFunc(plans, wanted)
		if i < 0 {
			continue
		}
		topic := plans[i].Topic(p.Name)
		if n, ok := rekeys[topic]; ok && part.Stage == "pipeline" {
			b.Rekeys[n].Parts = append(b.Rekeys[n].Parts, part)
			continue
		}
		r, err := host.Range(ctx, part)
		if err != nil {
			return err
		}
		if part.Stage == "rekey" {
			rekeys[topic] = len(b.Rekeys)
			b.Rekeys = append(b.Rekeys, beam.Rekey{Range: r})
		} else {
			b.Fills = append(b.Fills, r)
		}
	}
	return nil
}

// A filled view is what backfill rows prints.
type filled struct {
	View       string `json:"view"`
	Space      string `json:"space"` // of its rows
	Records    int64  `json:"records"`
	Applied    int64  `json:"applied"`
	Dropped    int64  `json:"dropped"`
	Duplicates int64  `json:"duplicates"`
	Dead       int64  `json:"dead"`
}

// report says where the rows are now, by the store.
func (c *backfillRowsCmd) report(ctx context.Context, a *app, p *project.Project, plans []*features.Plan, took time.Duration) error {
	store, err := engines.Store(ctx, p)
	if err != nil {
		return err
	}
	defer store.Close()
	var views []filled
	for _, plan := range plans {
		v := filled{View: plan.View.Name, Space: plan.Space(p.Name)}
		for i := range plan.Source.Partitions {
			s, err := store.State(ctx, online.Shard{Space: v.Space, Index: i})
			if err != nil {
				return err
			}
			n := s.Progress.Counts
			v.Applied, v.Dropped, v.Duplicates, v.Dead = v.Applied+n.Applied, v.Dropped+n.Dropped, v.Duplicates+n.Duplicates, v.Dead+n.Dead
		}
		v.Records = v.Applied + v.Dropped + v.Duplicates + v.Dead
		views = append(views, v)
	}
	if c.JSON {
		return a.printJSON(map[string]any{"views": views, "seconds": took.Seconds()})
	}
	for _, v := range views {
		fmt.Fprintf(a.stdout, "view %s: %d records: %d applied, %d dropped, %d duplicates, %d dead letters\n", v.View, v.Records, v.Applied, v.Dropped, v.Duplicates, v.Dead)
	}
	_, err = fmt.Fprintf(a.stdout, "filled in %.1f s\n", took.Seconds())
	return err
}
