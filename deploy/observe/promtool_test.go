//go:build promtool

package observe_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// promtool runs Prometheus' tool, which PROMTOOL names, or is in the path.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	name := os.Getenv("PROMTOOL")
	if name == "" {
		name = "promtool"
	}
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestPromtoolRules checks the rules and runs their tests.
func TestPromtoolRules(t *testing.T) {
	promtool(t, "", "check", "rules", filepath.Join(grafana, "alerts.yaml"))
	promtool(t, "", "test", "rules", filepath.Join(grafana, "alerts_test.yaml"))
}

// TestPromtoolMetrics checks what Prometheus gets.
func TestPromtoolMetrics(t *testing.T) { promtool(t, scrapeLoop(t), "check", "metrics") }

// TestPromtoolDashboard checks the queries of the dashboard as rules.
func TestPromtoolDashboard(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	n := 0
	for title, all := range queries(t) {
		if strings.HasPrefix(title, "variable ") { // no PromQL: label_values(...)
			continue
		}
		for _, expr := range all {
			n++
			expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(expr)
			fmt.Fprintf(&rules, "      # %s\n      - record: panel:%d\n        expr: %q\n", title, n, expr)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint=none", file)
	if t.Failed() {
		t.Log(rules.String())
	}
}
