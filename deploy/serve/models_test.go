package serve

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestBaseRate serves before there is a champion: the rate of no labels, then
// that of the labels so far.
func TestBaseRate(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.events("buys", `{"user":7,"shop":"12","sum":2.5,"at":"2026-03-04T05:00:00Z"}`)
	m.apply("baskets")
	if p := m.predict("rises", askA); p.Degraded != "nothing is loaded yet" || p.Score != 0.5 || !p.BaseRate {
		t.Errorf("before the registry is read: %+v", p)
	}
	must(t, m.models.Refresh(t.Context()))
	if p := m.predict("rises", askA); p.Degraded != "" || p.Score != 0.5 || p.Version != 0 || p.Bundle != "" || !p.BaseRate {
		t.Errorf("%+v", p)
	}
	if p := m.predict("sum", `{"entity":{"user":7,"shop":"12"}}`); p.Score != 0 || !p.BaseRate {
		t.Errorf("%+v", p)
	}
	m.shelf.serving["rises"] = registry.Serving{Revision: 1, Shadow: registry.NoVersion, BaseRate: registry.BaseRate{Value: 0.125, Count: 6}}
	must(t, m.models.Refresh(t.Context()))
	if p := m.predict("rises", askA); p.Score != 0.125 || !p.BaseRate {
		t.Errorf("%+v", p)
	}
	m.champion("rises")
	if p := m.predict("rises", askA); p.Version != 1 || p.BaseRate {
		t.Errorf("%+v", p)
	}
	m.shelf.serve("rises", 0, registry.NoVersion)
	must(t, m.models.Refresh(t.Context()))
	m.shelf.serve("rises", 2, registry.NoVersion)
	if err := m.models.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "so the base rate answers") || !strings.HasSuffix(err.Error(), `; where that cannot be, "millrace models rollback rises --why TEXT" goes back to the version before it`) {
		t.Errorf("%v", err)
	} else if p := m.predict("rises", askA); p.Score != 0.125 || !p.BaseRate || p.Degraded != err.Error() {
		t.Errorf("%+v", p)
	}
	m.version("rises", 2)
	// The base rate may be in the shadow, too.
	m.shelf.serving["rises"] = registry.Serving{Revision: 9, Champion: 2, BaseRate: registry.BaseRate{Value: 0.125, Count: 6}}
	must(t, m.models.Refresh(t.Context()))
	p := m.predict("rises", `{"entity":{"symbol":"A"},"id":"last"}`)
	for _, r := range m.written() {
		if r.Prediction.ID == "last" && (p.Version != 2 || r.Prediction.Shadow == nil || *r.Prediction.Shadow != (feedback.Score{Value: 0.125})) {
			t.Errorf("%+v", r.Prediction)
		}
	}
}

// TestBundleDeleted takes the files of what is loaded away: the versions go on,
// change sides, and one that is not loaded keeps the old one at work.
func TestBundleDeleted(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	m.version("rises", 2)
	third := m.version("rises", 3)
	m.shelf.serve("rises", 1, 2)
	must(t, m.models.Refresh(t.Context()))
	away := m.dir + ".away"
	must(t, os.Rename(m.dir, away))
	m.shelf.serve("rises", 2, 1)
	must(t, m.models.Refresh(t.Context()))
	if p := m.predict("rises", askA); p.Version != 2 {
		t.Errorf("%+v", p)
	}
	m.shelf.serve("rises", 3, 2)
	err := m.models.Refresh(t.Context())
	if err == nil || !strings.Contains(err.Error(), "model rises: version 3 cannot be loaded, so version 2 goes on: bundle "+third.ID()[:12]) {
		t.Errorf("%v", err)
	}
	if p := m.predict("rises", askA); p.Version != 2 || p.Degraded != "" {
		t.Errorf("%+v", p)
	}
	if r := m.get("/readyz"); r.Code != 503 || !strings.Contains(r.Body.String(), "version 3 cannot be loaded") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	must(t, os.Rename(away, m.dir))
	must(t, m.models.load(t.Context(), time.Hour)) // it waits
	if p := m.predict("rises", askA); p.Version != 2 {
		t.Errorf("%+v", p)
	}
	must(t, m.models.Refresh(t.Context()))
	if p := m.predict("rises", askA); p.Version != 3 || p.Bundle != third.ID() {
		t.Errorf("%+v", p)
	}
	if r := m.get("/readyz"); r.Code != 200 {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// TestShadowNotLoaded lets the champion in without its shadow, and the shadow
// once it can be loaded.
func TestShadowNotLoaded(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.version("rises", 1)
	m.shelf.serve("rises", 1, 2)
	if err := m.models.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "version 2 cannot be loaded and is not in the shadow of version 1") {
		t.Errorf("%v", err)
	}
	if p := m.predict("rises", askA); p.Version != 1 || p.Degraded != "" {
		t.Errorf("%+v", p)
	}
	m.version("rises", 2)
	must(t, m.models.Refresh(t.Context()))
	x := m.models.find("rises")
	if now := x.loaded.Load(); now.shadow == nil || now.shadow.version != 2 || x.swaps.Load() != 1 {
		t.Errorf("%+v after %d swaps", now, x.swaps.Load())
	}
}

// TestNotLoaded offers what is not the model's: the base rate answers and says
// why, and readiness says what to do.
func TestNotLoaded(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	rises := *m.configs["rises"]
	changed := func(f func(*ModelConfig)) string {
		c := rises
		c.Inputs = slices.Clone(c.Inputs)
		f(&c)
		return m.train(c, 1)
	}
	stranger := m.train(rises, 1)
	damaged := m.train(rises, 2)
	weights := filepath.Join(m.dir, damaged, bundle.WeightsName)
	must(t, os.Truncate(weights, 10))
	for _, c := range []struct {
		name, bundle string
		says         string
	}{
		{"fingerprint", changed(func(c *ModelConfig) { c.Inputs[1].Fingerprint = "0123456789abcdef" }), "feature daily.n was defined otherwise; train a new version"},
		{"kind", changed(func(c *ModelConfig) { c.Inputs[1].Kind = expr.Float }), "feature daily.n was defined otherwise"},
		{"fewer", changed(func(c *ModelConfig) { c.Inputs = c.Inputs[:2] }), "it sees daily.close, daily.n, and the project lists daily.close, daily.n, daily.note, exact.n, daily.gap"},
		{"order", changed(func(c *ModelConfig) { c.Inputs[0], c.Inputs[1] = c.Inputs[1], c.Inputs[0] }), "it sees daily.n, daily.close"},
		{"model", changed(func(c *ModelConfig) { c.Name = "falls" }), `a binary model "falls"`},
		{"task", changed(func(c *ModelConfig) { c.Task = learn.Regression }), "a regression model"},
		{"damaged", damaged, bundle.WeightsName},
		{"nowhere", strings.Repeat("0", 64), "it is not in"},
		{"no id", "../x", "no id of a bundle"},
	} {
		m.start()
		m.shelf.versions["rises1"] = c.bundle
		m.shelf.serve("rises", 1, registry.NoVersion)
		err := m.models.Refresh(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "model rises: version 1") {
			t.Errorf("%s: %v, want %s", c.name, err, c.says)
		}
		if broken := slices.Contains([]string{"damaged", "nowhere", "no id"}, c.name); strings.Contains(err.Error(), "millrace models rollback rises") != broken {
			t.Errorf("%s: %v", c.name, err)
		}
		if p := m.predict("rises", askA); !p.BaseRate || p.Degraded != err.Error() {
			t.Errorf("%s: %+v", c.name, p)
		}
		if lines := m.models.Problems(); len(lines) != 1 || lines[0] != err.Error() {
			t.Errorf("%s: %q", c.name, lines)
		}
	}
	m.key = ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize))) // another is trusted
	m.shelf.versions["rises1"] = stranger
	if err := m.models.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), bundle.SignatureName) {
		t.Errorf("a stranger's bundle: %v", err)
	}
}

// TestRegistryAway goes on with what is loaded while the registry cannot be
// read.
func TestRegistryAway(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.shelf.err = errFlaw
	if err := m.models.Refresh(t.Context()); !errors.Is(err, errFlaw) || !strings.Contains(err.Error(), "the registry cannot be read") {
		t.Errorf("%v", err)
	}
	if p := m.predict("rises", askA); !p.BaseRate || !strings.Contains(p.Degraded, "the registry cannot be read") {
		t.Errorf("%+v", p)
	}
	m.shelf.err = nil
	m.champion("rises")
	m.shelf.err = errFlaw
	if err := m.models.Refresh(t.Context()); err == nil {
		t.Error("no error")
	}
	if p := m.predict("rises", askA); p.Version != 1 || p.Degraded != "" {
		t.Errorf("%+v", p)
	}
	m.shelf.err = nil
	must(t, m.models.Refresh(t.Context()))
	if lines := m.models.Problems(); len(lines) != 0 {
		t.Errorf("%q", lines)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.shelf.err = context.Canceled
	if err := m.models.Refresh(ctx); !errors.Is(err, context.Canceled) || len(m.models.Problems()) != 0 {
		t.Errorf("%v, %q", err, m.models.Problems())
	}
}

// TestRealRegistry takes a version from training into service in a registry of
// its own.
func TestRealRegistry(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	ctx := t.Context()
	r, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	must(t, err)
	defer r.Close()
	m.models.registry = r
	must(t, r.SetBaseRate(ctx, "rises", registry.BaseRate{Value: 0.75, Count: 2, AsOf: 1}))
	must(t, m.models.Refresh(ctx))
	if p := m.predict("rises", askA); p.Score != 0.75 || !p.BaseRate {
		t.Errorf("%+v", p)
	}
	id := m.train(*m.configs["rises"], 1)
	now := time.Now()
	run, err := r.AddRun(ctx, registry.Run{Model: "rises", Status: registry.Trained, Began: now, Ended: now, Spec: json.RawMessage(`{"seed":1}`), Bundle: id},
		&registry.Version{Model: "rises", Bundle: id, Author: "trainer", Cutoff: 1, Baseline: registry.NoVersion})
	must(t, err)
	must(t, r.Judge(ctx, "rises", run.Version, registry.Judgement{Verdict: "promote", Reasons: []string{"better"}, At: 2}))
	must(t, r.Approve(ctx, "rises", run.Version, "anna", "good"))
	rollout, err := r.Begin(ctx, "rises", run.Version, nil)
	must(t, err)
	must(t, m.models.Refresh(ctx))
	if p := m.predict("rises", askA); !p.BaseRate {
		t.Errorf("%+v", p)
	}
	must(t, r.Switch(ctx, rollout.ID, nil))
	must(t, m.models.Refresh(ctx))
	if p := m.predict("rises", askA); p.Version != run.Version || p.Bundle != id {
		t.Errorf("%+v", p)
	}
	all := m.written()
	if s := all[1].Prediction.Shadow; s == nil || s.Bundle != id {
		t.Errorf("not in the shadow: %+v", all[1].Prediction)
	}
}

// TestModelsAnswer reads /v1/models.
func TestModelsAnswer(t *testing.T) {
	m := newModelWorld(t, nil)
	b := m.champion("rises")
	m.shelf.serve("sum", 9, registry.NoVersion)
	err := m.models.Refresh(t.Context())
	var a struct {
		Models []struct {
			Name, Task, Set  string
			Champion, Shadow *struct {
				Version int
				Bundle  string
			}
			BaseRate struct {
				Value  float64
				Labels int64
			} `json:"base_rate"`
			Revision int64
			Since    *time.Time
			Problems []string
		}
	}
	r := m.get("/v1/models")
	must(t, json.Unmarshal(r.Body.Bytes(), &a))
	if len(a.Models) != 3 || a.Models[0].Name != "replayed" || a.Models[1].Name != "rises" || a.Models[2].Name != "sum" {
		t.Fatalf("%s", r.Body)
	}
	x, y := a.Models[1], a.Models[2]
	if x.Task != "binary" || x.Set != bundle.SetID(m.configs["rises"].Inputs) || x.Champion.Version != 1 || x.Champion.Bundle != b.ID() || x.Shadow != nil || x.BaseRate.Value != 0.5 || x.Revision != 1 || x.Since == nil || len(x.Problems) != 0 {
		t.Errorf("%+v", x)
	}
	if y.Champion.Version != 0 || y.Since == nil || len(y.Problems) != 1 || y.Problems[0] != err.Error() {
		t.Errorf("%+v", y)
	}
	without := newWorld(t, nil)
	if r := without.get("/v1/models"); r.Code != 200 || strings.TrimSpace(r.Body.String()) != `{"models":[]}` {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if status, answer := without.post(predictPath+"rises", askA); status != 404 || !strings.Contains(answer, "there are none") {
		t.Errorf("%d %s", status, answer)
	}
}

// TestJoinAnswer reads /v1/join.
func TestJoinAnswer(t *testing.T) {
	m := newModelWorld(t, nil)
	if r := m.get("/v1/join"); r.Code != 404 {
		t.Errorf("without JoinStats: %d %s", r.Code, r.Body)
	}
	want := feedback.Stats{Predictions: feedback.PredictionStats{Total: 3, Pending: 1, Matched: 2}, Outcomes: feedback.OutcomeStats{Total: 2, Effective: 2}}
	var err error
	m.cfg.JoinStats = func(context.Context) (feedback.Stats, error) { return want, err }
	var got feedback.Stats
	r := m.get("/v1/join")
	must(t, json.Unmarshal(r.Body.Bytes(), &got))
	if r.Code != 200 || got != want {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	err = errFlaw
	if r := m.get("/v1/join"); r.Code != 503 || !strings.Contains(r.Body.String(), errFlaw.Error()) {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// TestModelsRefused makes servers of models that do not fit.
func TestModelsRefused(t *testing.T) {
	m := newModelWorld(t, nil)
	for name, c := range map[string]struct {
		change func(*ModelConfig)
		says   string
	}{
		"no labeler":  {func(c *ModelConfig) { c.Labeler = nil }, "no Labeler"},
		"task":        {func(c *ModelConfig) { c.Task = "ranking" }, "ranking"},
		"no inputs":   {func(c *ModelConfig) { c.Inputs = nil }, "0 inputs"},
		"view":        {func(c *ModelConfig) { c.Inputs[0].Name = "dayly.close" }, `there is no view "dayly"`},
		"feature":     {func(c *ModelConfig) { c.Inputs[0].Name = "daily.clos" }, "sees daily.clos"},
		"fingerprint": {func(c *ModelConfig) { c.Inputs[0].Fingerprint = "x" }, "sees daily.close"},
		"kind":        {func(c *ModelConfig) { c.Inputs[0].Kind = expr.Int }, "sees daily.close"},
		"entity":      {func(c *ModelConfig) { c.Entity = []features.Field{{Name: "user", Kind: expr.Int}} }, `"symbol", which the view is about`},
	} {
		config := *m.configs["rises"]
		config.Inputs = slices.Clone(config.Inputs)
		c.change(&config)
		models, err := NewModels(m.shelf, m.dir, m.trusted, []ModelConfig{config}, quiet)
		if err == nil {
			cfg := m.cfg
			cfg.Models, cfg.Metrics = models, nil
			_, err = New(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", name, err, c.says)
		}
	}
	cfg := m.cfg
	cfg.Spool = nil
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Spool") {
		t.Errorf("without a spool: %v", err)
	}
}
