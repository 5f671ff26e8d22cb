package serve

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/millrace/millrace/features/expr"
)

// TestExplain compares the contributions of an answer with those of the bundle,
// whose sum is the log-odds of the score. Without a model there are none, and the
// prediction is given as ever.
func TestExplain(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	ask := strings.Replace(askA, "{", `{"explain":true,`, 1)
	if status, body := m.post(predictPath+"rises", ask); status != 200 || !strings.Contains(body, `"explanation":null,"no_explanation":"the base rate answers`) {
		t.Errorf("%d %s", status, body)
	}
	b := m.champion("rises")
	var got struct {
		Score       float64
		Explanation struct {
			Score, Base   float64
			Contributions map[string]float64
		}
	}
	status, body := m.post(predictPath+"rises", ask)
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	vector, _ := m.seen("rises", &Query{Entities: row("symbol", expr.StringValue("A")), Inputs: row("close", expr.FloatValue(13.25))})
	want, err := b.Explain(vector)
	must(t, err)
	sum := got.Explanation.Base
	for i, in := range m.configs["rises"].Inputs {
		c, ok := got.Explanation.Contributions[in.Name]
		if sum += c; !ok || c != want.ByInput[i] {
			t.Errorf("%s contributed %v, want %v", in.Name, c, want.ByInput[i])
		}
	}
	if odds := math.Log(got.Score / (1 - got.Score)); math.Abs(sum-odds) > 1e-9 || math.Abs(got.Explanation.Score-odds) > 1e-9 || got.Explanation.Base != want.Base {
		t.Errorf("contributions add up to %v, the answer says %v with base %v, and its log-odds are %v", sum, got.Explanation.Score, got.Explanation.Base, odds)
	}
	if status, body := m.post(predictPath+"rises", strings.Replace(ask, "true", `"yes"`, 1)); status != 400 || !strings.Contains(body, "explain") {
		t.Errorf("%d %s", status, body)
	}
	if plain := m.predict("rises", askA); plain.Score != got.Score {
		t.Errorf("score %v without an explanation, %v with one", plain.Score, got.Score)
	}
}
