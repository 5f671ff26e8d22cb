package lookout

import (
	"context"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/feedback/monitor"
)

// report keeps what is to be told, as of a time of the log.
func (l *Lookout) report(found []monitor.Alarm, look int64) {
	if len(found) > 0 {
		l.told = append(l.told, alarms.Report{Alarms: found, Look: look, Behind: l.behind, Quiet: l.cfg.Quiet})
	}
}

// tell writes the alarms to the book, and asks for candidates.
func (l *Lookout) tell(ctx context.Context) error {
	if l.cfg.Book == nil {
		l.told = nil
	}
	for len(l.told) > 0 {
		news, err := l.cfg.Book.Put(ctx, l.told[0])
		if err != nil {
			return err
		}
		l.told = l.told[1:]
		for _, a := range news {
			l.cfg.Log.Warn("alarm", "model", a.Model, "monitor", a.Kind, "column", a.Column, "text", a.Text)
			if p := l.post(a.Model); l.cfg.Ask != nil && a.Over == 0 && p != nil && p.config.Retrain {
				l.asks = append(l.asks, a)
			}
		}
		l.mu.Lock()
		l.change(true)
		l.mu.Unlock()
	}
	for len(l.asks) > 0 {
		if err := l.cfg.Ask(ctx, l.asks[0].Model, l.asks[0]); err != nil {
			return err
		}
		l.asks = l.asks[1:]
	}
	return nil
}
