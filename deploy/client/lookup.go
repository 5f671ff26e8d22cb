package client

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// A LookupRequest asks for features of entities.
type LookupRequest struct {
	Features         []string         `json:"features,omitempty"`           // as view:feature
	View             string           `json:"view,omitempty"`               // instead of Features: all of a view
	Entities         map[string][]any `json:"entities"`                     // a column for each field of the entities
	FullFeatureNames bool             `json:"full_feature_names,omitempty"` // columns are called view__feature
	Request          map[string][]any `json:"request,omitempty"`            // a column for each request.* value of features on demand
	AsOf             time.Time        `json:"as_of,omitzero"`               // zero: now
	ExcludeCurrent   bool             `json:"exclude_current,omitempty"`    // leave out what happened at AsOf itself
	AtLeast          []Position       `json:"at_least,omitempty"`           // wait until these are applied
	WaitMS           int64            `json:"wait_ms,omitempty"`            // for how long; 0: the server's limit of 5 s
}

// A LookupResponse has a column for each field of the entities and then one for
// each feature.
type LookupResponse struct {
	Columns []Column
	AsOf    []time.Time // by row; zero: no event has been applied yet
}

// A Column is one value for each row.
type Column struct {
	Name       string
	Values     []any    // nil, bool, string or json.Number; doubles that are not finite are the texts NaN, Infinity and -Infinity
	Statuses   []string // PRESENT, NULL_VALUE or NOT_FOUND
	EventTimes []time.Time
}

// Column returns the column of that name, or nil.
func (r *LookupResponse) Column(name string) *Column {
	i := slices.IndexFunc(r.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Columns[i]
}

// Float returns the number in a row, and whether there is one.
func (c *Column) Float(row int) (float64, bool) {
	switch v := c.Values[row].(type) {
	case json.Number:
		x, err := v.Float64()
		return x, err == nil
	case string:
		switch v {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
	}
	return 0, false
}

// Lookup asks for features. Where the server is busy or its store is away it
// tries again until ctx ends.
func (c *Client) Lookup(ctx context.Context, req LookupRequest) (*LookupResponse, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("client: lookup: %w", err)
	}
	for t := (tries{}); ; {
		var a answer
		err := c.post(ctx, "/get-online-features", "application/json", body, &a)
		if err == nil {
			return a.response()
		}
		if err := t.again(ctx, err); err != nil {
			return nil, fmt.Errorf("client: lookup: %w", err)
		}
	}
}

// An answer is the body that the server gives.
type answer struct {
	Metadata struct {
		FeatureNames []string `json:"feature_names"`
	}
	Results []struct {
		Values          []any
		Statuses        []string
		EventTimestamps []time.Time `json:"event_timestamps"`
	}
	AsOf []*time.Time `json:"as_of"`
}

func (a *answer) response() (*LookupResponse, error) {
	if len(a.Results) != len(a.Metadata.FeatureNames) {
		return nil, fmt.Errorf("client: lookup: the server answered %d columns and %d names", len(a.Results), len(a.Metadata.FeatureNames))
	}
	r := &LookupResponse{}
	for i, c := range a.Results {
		rows := len(a.AsOf)
		if len(c.Values) != rows || len(c.Statuses) != rows || len(c.EventTimestamps) != rows {
			return nil, fmt.Errorf("client: lookup: column %q of the server's answer does not have %d rows", a.Metadata.FeatureNames[i], rows)
		}
		r.Columns = append(r.Columns, Column{a.Metadata.FeatureNames[i], c.Values, c.Statuses, c.EventTimestamps})
	}
	for _, at := range a.AsOf {
		if at == nil {
			at = &time.Time{}
		}
		r.AsOf = append(r.AsOf, *at)
	}
	return r, nil
}
