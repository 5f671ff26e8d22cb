package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/streams/pipeline"
)

// metricsFlag is the flag of the processes that have no HTTP server.
type metricsFlag struct {
	Metrics string `placeholder:"HOST:PORT" help:"Show the figures of each shard, its lag among them, to Prometheus at http://HOST:PORT/metrics. The default is not to."`
}

// stage returns the stage that shows a host's figures, or nil where none is asked
// for.
func (f metricsFlag) stage(ctx context.Context, e *opened, host *pipeline.Host) (stage, error) {
	if f.Metrics == "" {
		return nil, nil
	}
	if _, _, err := net.SplitHostPort(f.Metrics); err != nil {
		return nil, usagef("--metrics %q is not HOST:PORT, as 127.0.0.1:9100", f.Metrics)
	}
	metrics, err := observe.New()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(metrics.Host(host), metrics.Traces(e.traces)); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: cannot listen on %s; give --metrics another port, or stop what has this one: %w", f.Metrics, err)
	}
	e.log.Info("metrics for Prometheus", "url", "http://"+ln.Addr().String()+"/metrics")
	return func(ctx context.Context) error {
		err := metrics.Serve(ctx, ln)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return errors.Join(err, metrics.Close(late))
	}, nil
}

// runHost runs a host, its report and, if it is asked for, its metrics, besides the
// given stages.
func (f metricsFlag) runHost(ctx context.Context, e *opened, host *pipeline.Host, more ...stage) error {
	show, err := f.stage(ctx, e, host)
	if err != nil {
		return err
	}
	stages := append([]stage{host.Run}, more...)
	stages = append(stages, func(ctx context.Context) error { return reportProgress(ctx, e.log, host) })
	if show != nil {
		stages = append(stages, show)
	}
	return runStages(ctx, e.log, stages...)
}
