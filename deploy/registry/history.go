package registry

import "context"

// History returns all that has happened to a model, or to all with "", oldest
// first.
func (r *Registry) History(ctx context.Context, model string) ([]Event, error) {
	events, err := all(ctx, r.reads, scanEvent, `SELECT seq, time, who, model, version, what, why FROM history WHERE ?1 = '' OR model = ?1 ORDER BY seq`, model)
	return events, r.wrap(ctx, "history", err)
}

func scanEvent(scan func(...any) error) (Event, error) {
	var e Event
	var at int64
	err := scan(&e.Seq, &at, &e.Who, &e.Model, &e.Version, &e.What, &e.Why)
	e.Time = timeOf(at)
	return e, err
}
