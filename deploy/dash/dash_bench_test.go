package dash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
)

// BenchmarkPages asks for pages of 50 models, each with 40 versions and a champion.
func BenchmarkPages(b *testing.B) {
	var text strings.Builder
	text.WriteString(shop)
	for i := range 48 {
		fmt.Fprintf(&text, "  model_%02d:\n    task: binary\n    features: [customer.mean_30d]\n    label: {source: orders, join: next_event, value: amount >= 50.0, horizon: 14d}\n    learner: {ftrl: {}}\n", i)
	}
	w := newWorld(b)
	w.cfg.Project = parse(b, text.String())
	report, err := w.registry.Version(b.Context(), "large_order", 1)
	must(b, err)
	for i := range 48 {
		w.manyVersions(fmt.Sprintf("model_%02d", i), 40, report.Report)
	}
	w.open()
	w.fresh = 0 // each asks for the figures of its moment
	for _, path := range []string{"/ui/", "/ui/models", "/ui/models/model_07", "/ui/models/model_07/1", "/ui/alarms", "/ui/whatif"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if rec := w.get(path); rec.Code != http.StatusOK {
					b.Fatalf("%d %s", rec.Code, rec.Body)
				}
			}
		})
	}
}

// manyVersions puts a champion and candidates into the registry, some in review.
func (w *world) manyVersions(model string, n int, report json.RawMessage) {
	ctx, r := w.t.Context(), w.registry
	for i := range n {
		number := w.candidate(model, i%28+1)
		verdict, baseline := "reject", min(i, 1)
		if i == 0 || i > n-4 {
			verdict = "promote"
		}
		must(w.t, r.Judge(ctx, model, number, registry.Judgement{Verdict: verdict, Reasons: []string{"as it is"}, Report: report, Baseline: baseline}))
		if i > 0 {
			continue
		}
		must(w.t, r.Approve(ctx, model, number, "bob", ""))
		ro, err := r.Begin(ctx, model, number, nil)
		must(w.t, err)
		must(w.t, r.Switch(ctx, ro.ID, nil))
	}
}
