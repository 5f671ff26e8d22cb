package main

import (
	"context"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/lookout"
	"github.com/millrace/millrace/deploy/observe"
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

// show shows how the monitors stand to Prometheus.
func (w *watch) show(e *opened, m *observe.Metrics) error {
	if w.lookout == nil || m == nil {
		return nil
	}
	return m.Monitors(func() (all []observe.MonitorStatus) {
		counts, err := e.book.Count(context.Background())
		if err != nil {
			return nil // what cannot be read is absent
		}
		read, of := w.lookout.Progress()
		for _, name := range w.lookout.Models() {
			s := observe.MonitorStatus{Model: name, Behind: of - read, Undelivered: counts.Undelivered}
			w.lookout.View(name, func(f *monitor.Fleet) {
				s.Open, s.Look = len(f.Open()), float64(f.Counts().Clock)/1e6
				for _, r := range f.Readings() {
					s.Monitors++
					if r.State == monitor.Alarmed {
						s.Alarmed++
					}
				}
			})
			waiting, err := e.book.List(context.Background(), alarms.Filter{Model: name, Unacknowledged: true})
			if err == nil {
				s.Unacknowledged = len(waiting)
			}
			all = append(all, s)
		}
		return all
	})
}
