package client_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// withModel adds to the config of a server a model that has no version yet.
func withModel(t *testing.T, cfg *serve.Config) {
	t.Helper()
	r, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	must(t, err)
	t.Cleanup(func() { r.Close() })
	symbol := []features.Field{{Name: "symbol", Kind: expr.String}}
	labeler, err := feedback.Compile("rises", feedback.Label{Join: feedback.NextEvent, Horizon: time.Hour, Binary: true}, nil, []string{"symbol"})
	must(t, err)
	o := cfg.Plans[0].Outputs()[0]
	model := serve.ModelConfig{
		Name: "rises", Task: learn.Binary, Entity: symbol, Labeler: labeler,
		Inputs: []bundle.Input{{Name: "daily." + o.Name, Kind: o.Kind, KindName: o.Kind.String(), Fingerprint: o.Fingerprint}},
	}
	cfg.Models, err = serve.NewModels(r, t.TempDir(), func() ([]ed25519.PublicKey, error) { return nil, nil }, []serve.ModelConfig{model}, slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, cfg.Models.Refresh(t.Context()))
	cfg.Spool, err = serve.OpenSpool(t.TempDir(), 0, slog.New(slog.DiscardHandler))
	must(t, err)
	spool := cfg.Spool
	t.Cleanup(func() { spool.Close() })
	cfg.JoinStats = func(context.Context) (feedback.Stats, error) {
		var s feedback.Stats
		s.Predictions.Total, s.Outcomes.Orphan = 3, 2
		return s, nil
	}
}

// TestModels goes through the calls about models with a real server.
func TestModels(t *testing.T) {
	c := newClient(t, newServer(t))
	ctx := t.Context()
	p, err := c.Predict(ctx, "rises", client.PredictRequest{Entity: map[string]any{"symbol": "A"}, Request: map[string]any{"x": 1}})
	must(t, err)
	if p.Score != 0.5 || !p.BaseRate || len(p.ID) != 32 || p.Model != "rises" || p.AsOf.IsZero() || len(p.Fingerprints["daily.n"]) != 16 || p.Degraded != "" {
		t.Errorf("%+v", p)
	}
	if p, err := c.Predict(ctx, "rises", client.PredictRequest{Entity: map[string]any{"symbol": "A"}, Explain: true}); err != nil || p.Explanation != nil || !strings.Contains(p.NoExplanation, "base rate") {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := c.Predict(ctx, "rises", client.PredictRequest{Entity: map[string]any{"symbol": 7}, ID: "mine"}); err != nil || p.ID != "mine" {
		t.Errorf("%+v, %v", p, err)
	}
	at := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	good := client.Outcome{Entity: map[string]any{"symbol": "A"}, Time: at, Value: true}
	ids, err := c.Outcomes(ctx, "rises", good, client.Outcome{Entity: good.Entity, Time: at, Value: 0, OutcomeID: "o"}, good)
	if err != nil || len(ids) != 3 || ids[0] != ids[2] || ids[1] != "o" {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := c.Outcomes(ctx, "rises"); err != nil || len(ids) != 0 {
		t.Errorf("no outcomes: %q, %v", ids, err)
	}
	var e *client.Error
	if _, err := c.Outcomes(ctx, "rises", good, client.Outcome{Entity: good.Entity, Time: at, Value: 2}); !errors.As(err, &e) || e.Status != 400 || len(e.Lines) != 1 || e.Lines[0].Line != 2 || e.Lines[0].Field != "value" {
		t.Errorf("bad outcome: %v", err)
	}
	if _, err := c.Predict(ctx, "no/such", client.PredictRequest{}); !errors.As(err, &e) || e.Status != 404 || !strings.Contains(err.Error(), "rises") {
		t.Errorf("no such model: %v", err)
	}
	models, err := c.Models(ctx)
	if err != nil || len(models) != 1 || models[0].Name != "rises" || models[0].Champion.Number != 0 || models[0].Shadow != nil || models[0].Since.IsZero() || models[0].BaseRate.Value != 0.5 {
		t.Errorf("%+v, %v", models, err)
	}
	stats, err := c.JoinStats(ctx)
	if err != nil || stats.Predictions.Total != 3 || stats.Outcomes.Orphan != 2 || !json.Valid(stats.Details) {
		t.Errorf("%+v, %v", stats, err)
	}
	if _, err := c.Predict(ctx, "rises", client.PredictRequest{Entity: map[string]any{"symbol": func() {}}}); err == nil {
		t.Error("a function was encoded")
	}
	if _, err := c.Outcomes(ctx, "rises", client.Outcome{Time: at, Value: func() {}}); err == nil {
		t.Error("a function was encoded")
	}
	if _, err := c.Outcomes(ctx, "rises", good, client.Outcome{Entity: good.Entity, Value: 1}); err == nil || !strings.Contains(err.Error(), "outcome 2 has no Time") {
		t.Errorf("an outcome of no time: %v", err)
	}
}

// TestModelRetries answers 503 twice, and wants the same bytes again: the id of
// a prediction and the outcomes stay as they are.
func TestModelRetries(t *testing.T) {
	var bodies []string
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, string(body))
		if len(bodies)%3 != 0 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":"away","positions":[{"topic":"t","partition":0,"offset":5},{"topic":"t","partition":0,"offset":-1}]}`)
			return
		}
		var q struct{ ID string }
		if err := json.Unmarshal(body, &q); err == nil {
			fmt.Fprintf(w, `{"id":%q,"score":0.5}`, q.ID)
			return
		}
		fmt.Fprint(w, `{"ids":["a","b"]}`)
	}))
	_, err := c.Predict(t.Context(), "m", client.PredictRequest{})
	must(t, err)
	now := time.Now()
	ids, err := c.Outcomes(t.Context(), "m", client.Outcome{Time: now, Value: 1}, client.Outcome{Time: now, Value: 2})
	if err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("%q, %v", ids, err)
	}
	if len(bodies) != 6 || bodies[0] != bodies[1] || bodies[1] != bodies[2] || bodies[3] != bodies[4] || bodies[4] != bodies[5] || strings.Count(bodies[3], "\n") != 2 {
		t.Errorf("bodies %q", bodies)
	}
}

// TestModelStrangers meets servers that are not ours.
func TestModelStrangers(t *testing.T) {
	for _, text := range []string{`<html>`, `{}`, `{"id":"another","ids":[],"models":null}`} {
		c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
		if p, err := c.Predict(t.Context(), "m", client.PredictRequest{ID: "mine"}); err == nil {
			t.Errorf("%s was taken for %+v", text, p)
		}
		if ids, err := c.Outcomes(t.Context(), "m", client.Outcome{Time: time.Now()}); err == nil {
			t.Errorf("%s was taken for %q", text, ids)
		}
		if models, err := c.Models(t.Context()); err == nil {
			t.Errorf("%s was taken for %+v", text, models)
		}
	}
}
