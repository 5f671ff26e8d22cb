package main

import (
	"context"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/lookout"
	"github.com/millrace/millrace/feedback/monitor"
)

// A watch is the monitors of a project's models. Of a project without models it is
// empty.
type watch struct {
	lookout *lookout.Lookout
	stages  []stage // in which they are at work, and alarms are told
}

// problems says what keeps the monitors from their work.
func (w *watch) problems() []string {
	if w.lookout == nil {
		return nil
	}
	return w.lookout.Problems()
}

// newWatch opens the book of alarms, which closes with the engines, and makes the
// monitors.
func newWatch(e *opened) (*watch, error) {
	p, w := e.project, &watch{}
	if e.registry == nil {
		return w, nil
	}
	var err error
	if e.book, err = alarms.Open(p.AlarmsFile()); err != nil {
		return nil, err
	}
	c := lookout.Config{
		Project: p.Name, Cluster: e.cluster, Registry: e.registry, Book: e.book, Log: e.log, Quiet: !p.Alarms.Told(),
		Ask: func(ctx context.Context, model string, a monitor.Alarm) error {
			return e.registry.Ask(ctx, model, a.Onset, "monitor", a.Text)
		},
	}
	for i := range p.Models {
		if m := &p.Models[i]; !m.Monitor.Off {
			c.Models = append(c.Models, lookout.Model{Model: m.Monitored(), Config: m.Monitor.Config})
		}
	}
	if w.lookout, err = lookout.New(c); err != nil {
		return nil, err
	}
	w.stages = append(w.stages, w.lookout.Run)
	if !c.Quiet {
		target, err := p.Alarms.Target()
		if err != nil {
			return nil, err
		}
		courier, err := alarms.NewWebhook(target, e.log)
		if err != nil {
			return nil, err
		}
		w.stages = append(w.stages, func(ctx context.Context) error { return courier.Run(ctx, e.book) })
	}
	return w, nil
}
