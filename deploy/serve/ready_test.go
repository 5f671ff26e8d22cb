package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
)

// TestReadyFor takes parts away: what does without them stays ready, and /readyz
// without for says all that is wrong.
func TestReadyFor(t *testing.T) {
	var store *flawed
	m := newModelWorld(t, func(s online.Store) online.Store { store = &flawed{Store: s}; return store })
	m.seed()
	m.champion("rises")
	away := ""
	m.cfg.Problems = func() []string {
		if away == "" {
			return nil
		}
		return []string{away, "the lake waits"}
	}
	m.cfg.LogProblems = func() []string {
		if away == "" {
			return nil
		}
		return []string{away}
	}
	check := func(what string, want map[string]int) {
		t.Helper()
		for query, status := range want {
			if r := m.get("/readyz" + query); r.Code != status {
				t.Errorf("%s: /readyz%s: %d %s", what, query, r.Code, r.Body)
			}
		}
	}
	check("all is well", map[string]int{"": 200, "?for=lookups": 200, "?for=predictions": 200, "?for=events": 200, "?for=lookups&for=predictions&for=events": 200})
	check("what is not known", map[string]int{"?for=": 400, "?for=all": 400, "?for=lookups&for=lookups&for=lookups&for=lookups": 400})

	away = "no answer from Kafka"
	must(t, m.broker.Close())
	m.recordPatience = time.Millisecond
	m.predict("rises", `{"entity":{"symbol":"A"}}`)
	check("the log is away", map[string]int{"": 503, "?for=lookups": 200, "?for=predictions": 200, "?for=events": 503, "?for=lookups&for=events": 503})
	if body := m.get("/readyz?for=events").Body.String(); !strings.Contains(body, away) || strings.Contains(body, "the lake waits") {
		t.Error(body)
	}
	m.cfg.Spool.most = 100
	check("the spool is full", map[string]int{"": 503, "?for=lookups": 200, "?for=predictions": 503})
	if body := m.get("/readyz?for=predictions").Body.String(); !strings.Contains(body, "the spool is almost full: 1 predictions") {
		t.Error(body)
	}
	m.cfg.Spool.most = DefaultSpool

	away = ""
	fail := func() error { return errFlaw }
	store.read.Store(&fail)
	check("the store is away", map[string]int{"": 503, "?for=lookups": 503, "?for=predictions": 503, "?for=events": 200})
}
