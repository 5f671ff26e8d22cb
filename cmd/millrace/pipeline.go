package main

import (
	"context"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
)

type pipelineCmd struct {
	projectFlag
	metricsFlag
}

func (pipelineCmd) Help() string {
	return `Applies events to the rows of features, and keeps them in the lake, in one of several processes that share out the partitions among them. They need what they can share: a Kafka and a Redis, named in the project file. Start as many as you like, and "millrace serve" beside them.

Ctrl-C (or SIGTERM) stops it within 5 seconds; the others take over its partitions.

Examples:

	millrace pipeline -p shop/project.yaml
	millrace pipeline -p shop/project.yaml --metrics 127.0.0.1:9100`
}

func (c *pipelineCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if err := needShared("pipeline", p); err != nil {
		return err
	}
	return withEngines(ctx, p, a.log, func(e *opened) error {
		lake, err := newArchive(e, 0)
		if err != nil {
			return err
		}
		return c.runHost(ctx, e, e.host(engines.Views), lake.run)
	})
}

// needShared refuses a project whose engines live within one process.
func needShared(command string, p *project.Project) error {
	if engines.Shared(p) {
		return nil
	}
	return usagef(`%s is for several processes, which share Kafka and Redis: set kafka.addresses and store.redis in the project file; with embedded engines, "millrace run" does all in one process`, command)
}
