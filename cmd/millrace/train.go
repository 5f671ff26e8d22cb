package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

type trainCmd struct {
	projectFlag
}

func (trainCmd) Help() string {
	return `Trains and judges candidates only, in a process of its own: it follows the project's examples, which are predictions whose outcome is known, and works on registry.db and models/ in the project's data. "millrace run" does this by itself; use it where "millrace pipeline" and "millrace serve" share the rest, on the machine that has the data folder.

A candidate is trained whenever enough new examples have come (train.every), on the newest of them (train.window). First its data set is compared with schemas/MODEL.yaml in the project's data, which is inferred once and yours to edit; what is wrong there stops the candidate, and "millrace runs show" says what it is. Later it is judged once, on predictions from after all that it has learned from.

It keeps nothing in memory that matters. Stopped at any moment and started again, it makes the same candidates, byte for byte; and a second one beside it does no harm.

Example:

	millrace train -p shop/project.yaml`
}

func (c *trainCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if len(p.Models) == 0 {
		return usagef("train: the project file has no models: describe one under models: first")
	}
	return withTrainer(ctx, a, p, func(c trainer.Config) error {
		a.log.Info("training follows the examples", "project", p.Name, "models", len(p.Models))
		err := trainer.New(c).Run(ctx)
		if err == nil {
			a.log.Info("stopped")
		}
		return err
	})
}

// withTrainer opens what a trainer works with.
func withTrainer(ctx context.Context, a *app, p *project.Project, do func(trainer.Config) error) error {
	keys, err := bundle.OpenKeys(p.KeysDir())
	if err != nil {
		return err
	}
	return withLoop(ctx, a, p, func(e *opened) error { return do(trainerConfig(e, e.registry, keys)) })
}

type runsReproduceCmd struct {
	projectFlag
	ID   int64  `arg:"" name:"run" placeholder:"RUN" help:"The number of the run, as runs list shows it."`
	Dir  string `placeholder:"DIR" help:"Keep the bundle in this folder. Without it, it is only compared."`
	JSON bool   `help:"Print a JSON object: {\"bundle\", \"identical\", \"examples\", \"differs\", \"code\", \"code_running\"}."`
}

func (runsReproduceCmd) Help() string {
	return `Trains a run again, from the same examples with the same parameters, and says whether the same bundle comes of it, byte for byte. If not, the exit status is 1.

It needs the project file with the model's features as they were, and a Kafka that still has the examples: "millrace run" has to be running where the project uses the embedded broker.

Examples:

	millrace runs reproduce 12
	millrace runs reproduce 12 --dir again`
}

func (c *runsReproduceCmd) Run(ctx context.Context, a *app) error {
	return c.withRegistry(func(p *project.Project, r *registry.Registry) (err error) {
		run, err := r.Run(ctx, c.ID)
		if err != nil {
			return fmt.Errorf("%w; \"millrace runs list\" shows those that there are", err)
		}
		m := p.Model(run.Model)
		if m == nil {
			return noModel(p, run.Model)
		}
		dir := c.Dir
		if dir == "" {
			if dir, err = os.MkdirTemp("", "millrace-reproduce-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		return withTrainer(ctx, a, p, func(cfg trainer.Config) error {
			again, err := trainer.Reproduce(ctx, &cfg, &m.Model, &run, dir)
			if err != nil {
				return err
			}
			return c.report(a, &run, again)
		})
	})
}

// report says what came of it.
func (c *runsReproduceCmd) report(a *app, run *registry.Run, r *trainer.Reproduction) error {
	switch {
	case c.JSON:
		if err := a.printJSON(r); err != nil {
			return err
		}
	case r.Identical:
		fmt.Fprintf(a.stdout, "run %d of %s is reproduced from %s: bundle %s is identical, byte for byte\n", run.ID, run.Model, count(int64(r.Examples), "example"), r.Bundle)
	default:
		fmt.Fprintf(a.stdout, "run %d of %s is NOT reproduced: it made bundle %s, and the same %s now make %s\n", run.ID, run.Model, run.Bundle, count(int64(r.Examples), "example"), r.Bundle)
		if len(r.Differs) > 0 {
			fmt.Fprintf(a.stdout, "what differs: %s\n", strings.Join(r.Differs, ", "))
		}
		if r.Code != r.CodeNow {
			fmt.Fprintf(a.stdout, "it was trained by code %s, and this is %s\n", r.Code, r.CodeNow)
		}
	}
	if !r.Identical {
		return exitStatus(exitFailed)
	}
	return nil
}
