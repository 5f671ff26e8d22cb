package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/features"
)

type featuresCmd struct {
	Get featuresGetCmd `cmd:"" help:"Look up the features of entities."`
}

// lookupTimeout is for how long a server that cannot answer just now is asked
// again. It is longer than the server waits for --at-least.
const lookupTimeout = 10 * time.Second

type featuresGetCmd struct {
	projectFlag
	serverFlag
	View    string            `arg:"" placeholder:"VIEW" help:"The view."`
	Keys    []string          `arg:"" name:"key" placeholder:"KEY" sep:"none" help:"The entities. Where a view's entity has several fields, their values with commas between them."`
	Request map[string]string `placeholder:"NAME=NUMBER" help:"A value of request.NAME, for features that are worked out on demand."`
	AsOf    time.Time         `placeholder:"TIME" help:"The moment to ask for, as 2026-03-01T09:30:00Z. Without it, now by the project's clock. Earlier ones need exact windows."`
	AtLeast []string          `placeholder:"TOPIC/PARTITION/OFFSET" help:"Wait until this event is in the features, as ingest --json prints it."`
	JSON    bool              `help:"Print a JSON object: {\"view\", \"rows\": [{\"entity\", \"found\", \"as_of\", \"event_time\", \"features\"}]}."`
}

func (featuresGetCmd) Help() string {
	return `Asks a running server ("millrace run" or "serve") for the features of a view, as they are now.

Examples:

	millrace features get customer anna
	millrace features get customer anna ben --request amount=80
	millrace features get daily AAPL --json`
}

func (c *featuresGetCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	plan, err := choosePlan(p, c.View)
	if err != nil {
		return err
	}
	req, err := c.request(plan)
	if err != nil {
		return err
	}
	server, err := c.client(p)
	if err != nil {
		return err
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	answer, err := server.Lookup(ctx, req)
	if err != nil {
		return explain(err)
	}
	entity, columns := answer.Columns[:len(plan.View.Entity)], answer.Columns[len(plan.View.Entity):]
	if len(columns) == 0 {
		return fmt.Errorf("the server answered no features of view %s", c.View)
	}
	if c.JSON {
		return a.printJSON(c.rows(answer, entity, columns))
	}
	return printTable(a.stdout, answer.AsOf, entity, columns)
}

// request makes the query of the flags.
func (c *featuresGetCmd) request(plan *features.Plan) (req client.LookupRequest, err error) {
	req = client.LookupRequest{View: c.View, AsOf: c.AsOf, Entities: map[string][]any{}, Request: map[string][]any{}}
	fields := plan.View.Entity
	for _, key := range c.Keys {
		parts := []string{key}
		if len(fields) > 1 {
			parts = strings.Split(key, ",")
		}
		if len(parts) != len(fields) {
			return req, usagef("%q has %d values; the entity of view %s is %s: give one of each, with commas between them", key, len(parts), c.View, strings.Join(fields, ","))
		}
		for i, f := range fields {
			req.Entities[f] = append(req.Entities[f], parts[i])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Request)) {
		if _, err := strconv.ParseFloat(c.Request[name], 64); err != nil || !json.Valid([]byte(c.Request[name])) {
			return req, usagef("--request %s=%s: give a number", name, c.Request[name])
		}
		for range c.Keys {
			req.Request[name] = append(req.Request[name], json.Number(c.Request[name]))
		}
	}
	for _, at := range c.AtLeast {
		pos, err := parsePosition(at)
		if err != nil {
			return req, err
		}
		req.AtLeast = append(req.AtLeast, client.Position(pos))
	}
	return req, nil
}

// A row is what is known of one entity, for machines.
type row struct {
	Entity    map[string]any `json:"entity"`
	Found     bool           `json:"found"`
	AsOf      *time.Time     `json:"as_of"`      // null: an event clock before the first event
	EventTime *time.Time     `json:"event_time"` // of the entity's newest event
	Features  map[string]any `json:"features"`   // null: no value
}

func (c *featuresGetCmd) rows(answer *client.LookupResponse, entity, columns []client.Column) any {
	rows := make([]row, len(c.Keys))
	for i := range rows {
		r := row{Entity: map[string]any{}, Features: map[string]any{}, Found: found(columns, i)}
		if at := answer.AsOf[i]; !at.IsZero() {
			r.AsOf = &at
		}
		if r.Found {
			r.EventTime = &columns[0].EventTimes[i]
		}
		for _, f := range entity {
			r.Entity[f.Name] = f.Values[i]
		}
		for _, f := range columns {
			r.Features[f.Name] = f.Values[i]
		}
		rows[i] = r
	}
	return struct {
		View string `json:"view"`
		Rows []row  `json:"rows"`
	}{c.View, rows}
}

// found reports whether any event that counts has been about an entity.
func found(columns []client.Column, row int) bool { return columns[0].Statuses[row] != "NOT_FOUND" }

// printTable prints a column for each entity, for there are few of them.
func printTable(w io.Writer, asOf []time.Time, entity, columns []client.Column) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, cell func(i int) string) {
		fmt.Fprint(t, name)
		for i := range asOf {
			fmt.Fprintf(t, "\t%s", cell(i))
		}
		fmt.Fprintln(t)
	}
	for _, f := range entity {
		line(f.Name, func(i int) string { return shown(f.Values[i]) })
	}
	line("newest event", func(i int) string {
		if !found(columns, i) {
			return "never seen"
		}
		return columns[0].EventTimes[i].Format(time.RFC3339)
	})
	line("as of", func(i int) string {
		if asOf[i].IsZero() {
			return "-"
		}
		return asOf[i].Format(time.RFC3339)
	})
	fmt.Fprintln(t)
	for _, f := range columns {
		line(f.Name, func(i int) string { return shown(f.Values[i]) })
	}
	return t.Flush()
}

// shown is a value for people; what is missing is a dash.
func shown(v any) string {
	if v == nil {
		return "-"
	}
	return readable([]byte(fmt.Sprint(v)))
}
