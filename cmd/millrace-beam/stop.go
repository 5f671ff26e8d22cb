package main

import (
	"context"
	"fmt"
)

type stopCmd struct {
	projectFlag
	jobFlags
	ID   string `placeholder:"ID" help:"The job of that id on Flink, where several have the name."`
	JSON bool   `help:"Print a JSON object, {\"name\", \"id\"}."`
}

func (stopCmd) Help() string {
	return `Stops the job of a project on Flink, and waits until it has ended. Nothing is lost: what was not committed is read again by the next one, "millrace-beam run" or "millrace pipeline".

Examples:

	millrace-beam stop -p shop/project.yaml
	millrace-beam stop --name millrace-shop --rest http://flink:8081`
}

func (c *stopCmd) Run(ctx context.Context, a *app) error {
	flink, err := c.flink()
	if err != nil {
		return err
	}
	job, err := find(ctx, flink, c.projectFlag, c.jobFlags, c.ID)
	if err != nil {
		return err
	}
	if job.Ended() {
		return fmt.Errorf("job %s (%s) has ended already: %s", job.Name, job.ID, job.State)
	}
	if err := flink.Stop(ctx, job.ID); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(map[string]string{"name": job.Name, "id": job.ID})
	}
	_, err = fmt.Fprintf(a.stdout, "stopped job %s (%s)\n", job.Name, job.ID)
	return err
}
