package main

import (
	"context"

	"github.com/millrace/millrace/deploy"
)

type deployCmd struct {
	projectFlag
}

func (deployCmd) Help() string {
	return `Brings approved versions of models into service only, in a process of its own. It follows the project's predictions and examples, and works on registry.db in the project's data. "millrace run" does this by itself; use it where "millrace serve", "millrace pipeline" and "millrace join" share the rest, on the machine that has the data folder.

An approved version goes through these steps:

verify: its bundle is opened with all checks: signature, checksums, golden rows, the project's features. If that fails the version is broken, and the champion stays.

shadow: the servers ask it beside the champion, and nobody sees its answers. Each must be what the bundle says, to the last bit. It lasts rollout.shadow predictions.

switch: it becomes the champion, if the champion is still the one that it was judged against.

watch: the champion before it is in shadow now, and both are compared on the same predictions as their labels become known. It lasts rollout.watch answers, and at least until a verdict is possible, which takes five times the label's horizon with the usual confidence. If the loss is greater by more than rollout.rollback_on.worse_by, at rollout.rollback_on.confidence however often one looks, the champion before comes back by itself.

A person can take the version back at any time: millrace models rollback. What is seen so far, and how much is awaited, is in millrace models show.

It keeps nothing in memory that matters. Stopped at any moment and started again, it goes on where it was; and a second one beside it, or "millrace run", does no harm.

Example:

	millrace deploy -p shop/project.yaml`
}

func (c *deployCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if len(p.Models) == 0 {
		return usagef("deploy: the project file has no models: describe one under models: first")
	}
	return withLoop(ctx, a, p, func(e *opened) error {
		a.log.Info("deployment waits for approved versions", "project", p.Name, "models", len(p.Models))
		err := deploy.New(deployerConfig(e, e.registry)).Run(ctx)
		if err == nil {
			a.log.Info("stopped")
		}
		return err
	})
}
