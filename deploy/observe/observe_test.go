package observe

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape asks for the metrics as Prometheus does and parses them as it does.
func scrape(t *testing.T, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if r.Code != http.StatusOK {
		t.Fatalf("status %d: %s", r.Code, r.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func newMetrics(t *testing.T) *Metrics {
	t.Helper()
	m, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return m
}

// value returns the value of the metric whose label has that value.
func value(t *testing.T, f *dto.MetricFamily, label, want string) float64 {
	t.Helper()
	for _, m := range f.GetMetric() {
		for _, l := range m.Label {
			if l.GetName() == label && l.GetValue() == want {
				switch f.GetType() {
				case dto.MetricType_COUNTER:
					return m.Counter.GetValue()
				case dto.MetricType_GAUGE:
					return m.Gauge.GetValue()
				case dto.MetricType_HISTOGRAM:
					return float64(m.Histogram.GetSampleCount())
				}
			}
		}
	}
	t.Errorf("%s has nothing with %s=%q", f.GetName(), label, want)
	return math.NaN()
}

func TestPipeline(t *testing.T) {
	m := newMetrics(t)
	shards := []Shard{
		{Stage: "pipeline", View: "daily", Topic: "prices", Partition: 0, Running: true, Lag: 7, Newest: 1_500_000, Applied: 10, Dropped: 1, Duplicates: 2, Dead: 3, Truncated: 4, Nonfinite: 5},
		{Stage: "pipeline", View: "daily", Topic: "prices", Partition: 1, Newest: math.MinInt64, Applied: 20},
	}
	if err := m.Pipeline(func() []Shard { return shards }); err != nil {
		t.Fatal(err)
	}
	families := scrape(t, m)
	for name, want := range map[string]float64{
		"millrace_events_applied_total":            10,
		"millrace_events_dropped_total":            1,
		"millrace_events_duplicate_total":          2,
		"millrace_events_dead_total":               3,
		"millrace_values_truncated_total":          4,
		"millrace_values_nonfinite_total":          5,
		"millrace_shard_running":                   1,
		"millrace_shard_lag":                       7,
		"millrace_shard_newest_event_time_seconds": 1.5,
	} {
		f := families[name]
		if f == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		if got := value(t, f, "partition", "0"); got != want || f.GetHelp() == "" {
			t.Errorf("%s is %v, want %v; help %q", name, got, want, f.GetHelp())
		}
	}
	if got := len(families["millrace_shard_newest_event_time_seconds"].Metric); got != 1 {
		t.Errorf("%d newest times; a shard without events has none", got)
	}
	for _, name := range []string{"go_goroutines", "process_cpu_seconds_total", "target_info"} {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	shards[0].Applied = 11
	if got := value(t, scrape(t, m)["millrace_events_applied_total"], "partition", "0"); got != 11 {
		t.Errorf("applied is %v after another event", got)
	}
}

// TestManyShards has more of them than OpenTelemetry tells apart by default.
func TestManyShards(t *testing.T) {
	m := newMetrics(t)
	const n = 2_500
	err := m.Pipeline(func() []Shard {
		all := make([]Shard, n)
		for i := range all {
			all[i] = Shard{View: fmt.Sprintf("v%d", i/1024), Partition: i % 1024, Applied: 1}
		}
		return all
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(scrape(t, m)["millrace_events_applied_total"].GetMetric()); got != n {
		t.Errorf("%d shards, want %d", got, n)
	}
}

func TestRequests(t *testing.T) {
	m := newMetrics(t)
	m.Request("POST", "/get-online-features", 200, 700*time.Microsecond)
	m.Request("POST", "/get-online-features", 200, 3*time.Millisecond)
	m.Request("POST", "/get-online-features", 503, time.Second)
	for i := range 10 { // invented methods are one
		m.Request(fmt.Sprintf("X%d", i), "other", 405, time.Second)
	}
	f := scrape(t, m)["http_server_request_duration_seconds"]
	if got := value(t, f, "http_response_status_code", "200"); got != 2 {
		t.Errorf("%v requests, want 2", got)
	}
	if got := value(t, f, "http_request_method", "_OTHER"); got != 10 {
		t.Errorf("%v requests, want 10", got)
	}
	if len(f.Metric) != 3 {
		t.Errorf("%d series, want 3", len(f.Metric))
	}
	for _, series := range f.Metric {
		for _, b := range series.Histogram.Bucket {
			if b.GetUpperBound() == 0.001 && series.Histogram.GetSampleCount() == 2 && b.GetCumulativeCount() != 1 {
				t.Errorf("%d requests within a millisecond, want 1", b.GetCumulativeCount())
			}
		}
	}
}
