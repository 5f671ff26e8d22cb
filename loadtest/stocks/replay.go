package stocks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams"
)

// A Replay writes the events to their topic, day by day. Right after each day it
// looks up the features of the day's symbols, and asks for a prediction of each.
type Replay struct {
	Source   *features.Source
	Cluster  *streams.Cluster
	Producer *streams.Producer
	Client   *client.Client                         // of the server that looks up and predicts
	Pace     time.Duration                          // from the begin of one day to the next; 0: as fast as it goes
	Days     int                                    // how many of them, from the first; 0: all
	Served   func([]Event, time.Duration, *Vectors) // gets each day with its freshness and features

	// Asked gets each prediction, or the error of one that was not answered. Nil:
	// nothing is predicted.
	Asked func(e *Event, p *client.Prediction, err error) error
	// Settle is called after each day. Nil: the next day comes at once.
	Settle func(ctx context.Context, day time.Time) error
}

// Vectors are the features of a day's symbols, by their row.
type Vectors = client.LookupResponse

// applyTimeout is for how long a lookup waits for its day to be applied. What a
// stopped process left to apply takes a second.
const applyTimeout = time.Minute

// Run replays what the topic does not hold yet: it writes each partition's
// events in the order of the file, so that a topic with n records in a
// partition has the first n of its events. At the end all that the topic holds
// has been applied.
func (r *Replay) Run(ctx context.Context) error {
	held := make([]int64, r.Source.Partitions)
	for i := range held {
		first, next, err := r.Cluster.Bounds(ctx, r.Source.Topic, i)
		if err != nil {
			return err
		}
		held[i] = next - first
	}
	days := Days(Events())
	if r.Days > 0 {
		days = days[:min(r.Days, len(days))]
	}
	began, n := time.Now(), 0
	var last []Event // the last day that the topic held whole
	for _, day := range days {
		var left []Event
		for _, e := range day {
			if i := streams.PartitionOf([]byte(e.Symbol), len(held)); held[i] > 0 {
				held[i]--
			} else {
				left = append(left, e)
			}
		}
		if len(left) == 0 {
			last = day
			continue
		}
		if n == 0 {
			// What an earlier process has written may not be applied yet, and it may
			// not have come to ask about the last day.
			if err := r.applied(ctx); err != nil {
				return err
			}
			if last != nil && len(left) == len(day) {
				if err := r.ask(ctx, last); err != nil {
					return err
				}
			}
		}
		if err := sleepUntil(ctx, began.Add(time.Duration(n)*r.Pace)); err != nil {
			return err
		}
		n++
		if err := r.day(ctx, left); err != nil {
			return err
		}
		if err := r.ask(ctx, day); err != nil {
			return err
		}
	}
	if err := r.applied(ctx); err != nil || n > 0 || last == nil {
		return err
	}
	return r.ask(ctx, last)
}

// ask asks for a prediction of each of a day's symbols, and lets the day settle.
// The ids are the same whenever a day is asked about, so that what is asked twice
// counts once.
func (r *Replay) ask(ctx context.Context, day []Event) error {
	for i := range day {
		if r.Asked == nil {
			break
		}
		e := &day[i]
		p, err := r.Client.Predict(ctx, Model, client.PredictRequest{ID: e.ID(), Entity: map[string]any{Entity: e.Symbol}})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && !p.AsOf.Equal(e.Time) {
			return fmt.Errorf("stocks: the prediction of %s is as of %v and not of its day, %v", e.Symbol, p.AsOf, e.Time)
		}
		if err := r.Asked(e, p, err); err != nil {
			return err
		}
	}
	if r.Settle == nil {
		return nil
	}
	return r.Settle(ctx, day[0].Time)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// day writes one day's events and looks up the features that they make.
func (r *Replay) day(ctx context.Context, day []Event) error {
	records := make([]streams.Record, len(day))
	req := client.LookupRequest{View: View, Entities: map[string][]any{}, Request: map[string][]any{}}
	for i := range day {
		e := &day[i]
		records[i] = streams.Record{Key: []byte(e.Symbol), Value: e.JSON, Partition: -1}
		req.Entities[Entity] = append(req.Entities[Entity], e.Symbol)
		var ret any
		if x, ok := e.Return(); ok {
			ret = x
		}
		req.Request["ret"] = append(req.Request["ret"], ret)
	}
	began := time.Now()
	positions, err := r.Producer.Produce(ctx, r.Source.Topic, records)
	if err != nil {
		return err
	}
	for _, at := range positions {
		req.AtLeast = append(req.AtLeast, client.Position(at))
	}
	got, err := r.lookup(ctx, req)
	if err != nil {
		return err
	}
	fresh := time.Since(began)
	for i, e := range day {
		if at := got.Columns[1].EventTimes[i]; !at.Equal(e.Time) {
			return fmt.Errorf("stocks: the newest event in the features of %s is of %v after that of %v was applied", e.Symbol, at, e.Time)
		}
	}
	r.Served(day, fresh, got)
	return nil
}

// lookup looks up, and asks again where the events are not applied in time.
func (r *Replay) lookup(ctx context.Context, req client.LookupRequest) (*Vectors, error) {
	for began := time.Now(); ; {
		got, err := r.Client.Lookup(ctx, req)
		var e *client.Error
		if !errors.As(err, &e) || e.Status != http.StatusGatewayTimeout || time.Since(began) > applyTimeout {
			return got, err
		}
	}
}

// applied waits until the log is applied to its end, of which an earlier process
// may have written a part.
func (r *Replay) applied(ctx context.Context) error {
	req := client.LookupRequest{Features: []string{View + ":days"}, Entities: map[string][]any{Entity: {"AAPL"}}}
	for i := range r.Source.Partitions {
		_, next, err := r.Cluster.Bounds(ctx, r.Source.Topic, i)
		if err != nil {
			return err
		}
		if next > 0 {
			req.AtLeast = append(req.AtLeast, client.Position{Topic: r.Source.Topic, Partition: i, Offset: next - 1})
		}
	}
	_, err := r.lookup(ctx, req)
	return err
}
