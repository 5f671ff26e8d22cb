package serve

import (
	"context"
	"errors"
	"net/http"

	"github.com/millrace/millrace/streams"
)

// What is traced is said in deploy/observe. Records of requests that are sampled
// have the trace context in their headers, and others have none: most are of no
// trace, and each header would be kept with its record.

// produce writes the records of a request to a topic, with the trace context of
// their writing.
func (s *Server) produce(ctx context.Context, topic string, records []streams.Record) ([]streams.Position, error) {
	ctx, span := s.cfg.Traces.Send(ctx, topic, len(records))
	var headers []streams.Header
	s.cfg.Traces.Inject(ctx, func(key, value string) {
		headers = append(headers, streams.Header{Key: key, Value: []byte(value)})
	})
	if headers != nil {
		for i := range records {
			records[i].Headers = headers
		}
	}
	positions, err := s.cfg.Producer.Produce(ctx, topic, records)
	span.End(err != nil)
	return positions, err
}

// fill reads what a query asks for.
func (s *Server) fill(ctx context.Context, q *Query, v *Vectors) error {
	ctx, span := s.cfg.Traces.Lookup(ctx, len(v.columns), v.Rows)
	err := s.lookup.fill(ctx, q, v)
	span.End(broke(err))
	return err
}

// broke reports whether an error is not the caller's.
func broke(err error) bool {
	var p *Problem
	return err != nil && (!errors.As(err, &p) || p.Status >= http.StatusInternalServerError)
}
