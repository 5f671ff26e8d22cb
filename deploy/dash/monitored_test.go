package dash

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
)

const watchedShop = `project: shop
clock: event
sources:
  orders:
    keyed_by: [customer]
    event_time: at
    fields: {customer: string, amount: float, kind: string, at: time}
views:
  customer:
    source: orders
    entity: [customer]
    features:
      spend_30d: {sum: amount, window: 30d}
      orders_30d: {count: "*", window: 30d}
      kind: {last: kind, window: lifetime}
models:
  large_order:
    task: binary
    features: [customer.spend_30d, customer.orders_30d, customer.kind]
    label: {source: orders, join: next_event, value: amount >= 50.0, horizon: 2d}
    learner: {ftrl: {}}
    gate: {slices: [customer.kind]}
    monitor: {window: 5d, reference: 40d, false_alarms: 1 in 700d, std: [customer.spend_30d]}
  next_amount:
    task: regression
    features: [customer.spend_30d]
    label: {source: orders, join: next_event, value: amount, horizon: 2d}
    learner: {ftrl: {}}
    monitor: {window: 5d, reference: 40d, false_alarms: 1 in 700d}
`

// fleets are monitors that follow no log.
type fleets struct {
	names    []string
	of       map[string]*monitor.Fleet
	read     int64
	behind   int64
	problems []string
}

func (f *fleets) Models() []string         { return f.names }
func (f *fleets) Progress() (int64, int64) { return f.read, f.read + f.behind }
func (f *fleets) Problems() []string       { return f.problems }
func (f *fleets) Late(string) int64        { return 3 }
func (f *fleets) View(model string, do func(*monitor.Fleet)) bool {
	fleet := f.of[model]
	if fleet != nil {
		do(fleet)
	}
	return fleet != nil
}

const firstDay = 14000 // since the Unix epoch: 2008-05-01

func dayAt(n int) int64 { return int64(firstDay+n) * 24 * time.Hour.Microseconds() }

// watch makes monitors of a model that have seen days of predictions. From the day
// that it shifts, its first feature is another.
func watch(t testing.TB, m *project.Model, days, shifts int) (*monitor.Fleet, []monitor.Alarm) {
	t.Helper()
	x := m.Monitored()
	x.Version = func(int) (int64, bool) { return dayAt(60), true }
	f, err := monitor.New(m.Monitor.WithDefaults(m.Label.Horizon), x)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var all []monitor.Alarm
	seq := int64(0)
	for d := range days {
		var due []feedback.Example
		for i := range 20 {
			p := onePrediction(random, x.Inputs, x.Set, d, i)
			if d >= shifts {
				p.Vector[0] = expr.FloatValue(p.Vector[0].Float()*8 + 40)
			}
			f.Predicted(&p)
			seq++
			e := feedback.Example{Kind: feedback.Labelled, Seq: seq << 20, Prediction: p, Happened: p.Time + 1, Known: p.Time + 1}
			if random.Float64() < 0.3 {
				e.Label = 1
			}
			if i == 19 {
				e.Kind = feedback.Unanswered
			}
			due = append(due, e)
		}
		all = append(all, f.Tick(dayAt(d+1))...)
		for i := range due {
			f.Known(&due[i])
		}
		all = append(all, f.Passed(dayAt(d+1))...)
	}
	return f, all
}

func onePrediction(random *rand.Rand, inputs []features.Field, set string, d, i int) feedback.Prediction {
	p := feedback.Prediction{
		ID: fmt.Sprintf("p%d-%d", d, i), Time: dayAt(d) + int64(i)*time.Hour.Microseconds(), Set: set,
		Entity: []features.Named{{Name: "customer", Expr: []string{"anna", "bob", hostile}[i%3]}},
		Score:  feedback.Score{Version: 1 + d/75, Value: 0.2 + 0.2*random.Float64()},
	}
	for k, in := range inputs {
		v := expr.FloatValue(10 + random.NormFloat64())
		switch {
		case in.Kind == expr.Int:
			v = expr.IntValue(int64(random.IntN(9)))
		case in.Kind == expr.String:
			v = expr.StringValue([]string{"red", "blue", hostile}[random.IntN(3)])
		case k > 0 && random.IntN(20) == 0:
			v = features.Value{}
		}
		p.Vector = append(p.Vector, v)
	}
	return p
}

// watchedModels are fleets that tests share: finding thresholds takes a while, and
// pages change nothing.
var watchedModels = struct {
	mu sync.Mutex
	of map[string]watchedFleet
}{of: map[string]watchedFleet{}}

type watchedFleet struct {
	fleet *monitor.Fleet
	found []monitor.Alarm
}

func watchedOnce(t testing.TB, m *project.Model) watchedFleet {
	watchedModels.mu.Lock()
	defer watchedModels.mu.Unlock()
	one, ok := watchedModels.of[m.Name]
	if !ok {
		one.fleet, one.found = watch(t, m, 120, 110)
		watchedModels.of[m.Name] = one
	}
	return one
}

// watchedWorld is a world whose models are monitored: the first has changed.
func watchedWorld(t testing.TB) (*world, *fleets) {
	w := newWorld(t)
	w.cfg.Project = parse(t, watchedShop)
	book, err := alarms.Open(filepath.Join(t.TempDir(), "alarms.db"))
	must(t, err)
	t.Cleanup(func() { book.Close() })
	f := &fleets{of: map[string]*monitor.Fleet{}}
	for i := range w.cfg.Project.Models {
		m := &w.cfg.Project.Models[i]
		one := watchedOnce(t, m)
		f.names = append(f.names, m.Name)
		f.of[m.Name] = one.fleet
		_, err := book.Put(t.Context(), alarms.Report{Alarms: one.found, Look: dayAt(120)})
		must(t, err)
	}
	w.cfg.Lookout, w.cfg.Alarms = f, book
	w.open()
	return w, f
}

var watchedPaths = []string{
	"/ui/features", "/ui/features?q=large", "/ui/features?q=none", "/ui/features/large_order", "/ui/features/large_order?q=spend", "/ui/features/large_order?q=none",
	"/ui/features/large_order/customer.spend_30d", "/ui/features/large_order/customer.kind", "/ui/features/large_order/customer.orders_30d?from=2008-06-01&to=2008-06-20",
	"/ui/features/large_order/score?entity=bob", "/ui/features/large_order/label?entity=nobody", "/ui/features/next_amount/score?from=1970-01-01",
	"/ui/features/large_order/customer.spend_30d?from=1990-01-01&to=1990-02-01", "/ui/features/large_order/score?entity=" + url.QueryEscape(hostile),
	"/ui/predictions", "/ui/predictions?q=none", "/ui/predictions/large_order", "/ui/predictions/large_order?version=1", "/ui/predictions/large_order?slice=customer.kind%3Dred&from=2008-06-01",
	"/ui/predictions/next_amount", "/ui/predictions/large_order?from=1990-01-01&to=1990-02-01",
}

func TestEveryWatchedPage(t *testing.T) {
	w, f := watchedWorld(t)
	check := func() {
		t.Helper()
		for _, path := range watchedPaths {
			rec := w.get(path)
			if rec.Code != http.StatusOK {
				t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
			}
			fine(t, path, rec.Body.String())
		}
	}
	check()
	f.problems, f.behind = []string{"monitors wait: the broker is away " + hostile}, 5000
	check()
	for _, path := range watchedPaths {
		if body := w.get(path).Body.String(); !strings.Contains(body, "the broker is away") || !strings.Contains(body, "catching up") {
			t.Errorf("GET %s does not say that the monitors are away and behind", path)
		}
	}
	// Before anything has been seen.
	for i := range w.cfg.Project.Models {
		m := &w.cfg.Project.Models[i]
		f.of[m.Name], _ = watch(t, m, 0, 0)
	}
	for _, path := range []string{"/ui/features", "/ui/features/large_order", "/ui/features/large_order/score", "/ui/features/large_order/label", "/ui/features/large_order/customer.kind", "/ui/predictions", "/ui/predictions/large_order"} {
		rec := w.get(path)
		if rec.Code != http.StatusOK {
			t.Errorf("GET %s with nothing seen: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
}

func TestUnwatched(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/ui/features", "/ui/predictions"} {
		rec := w.get(path)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "Nothing is monitored") {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
	if body := w.get("/ui/features").Body.String(); !strings.Contains(body, "events up to") {
		t.Error("the freshness of views is not shown")
	}
}

func TestWatchedErrors(t *testing.T) {
	w, f := watchedWorld(t)
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/ui/features/none", 404, "No model none is monitored"},
		{"/ui/features/large_order/none", 404, "no column none"},
		{"/ui/features/large_order/score?from=x", 400, "is no day"},
		{"/ui/features/large_order/score?from=2009-01-01&to=2008-01-01", 400, "no stretch of time"},
		{"/ui/predictions/none", 404, "No model none"},
		{"/ui/predictions/large_order?slice=none", 404, "no slice none"},
		{"/ui/predictions/large_order?version=9", 404, "Version 9"},
		{"/ui/predictions/large_order?version=x", 404, "Version x"},
		{"/ui/predictions/large_order?to=2008-13-01", 400, "is no day"},
	} {
		rec := w.get(c.path)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("GET %s: %d, want %d with %q\n%s", c.path, rec.Code, c.status, c.says, rec.Body)
		}
		fine(t, c.path, rec.Body.String())
	}
	// One model leads to its page.
	f.names = f.names[:1]
	for _, path := range []string{"/ui/features", "/ui/predictions"} {
		if rec := w.get(path); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != path+"/large_order" {
			t.Errorf("GET %s: %d to %q", path, rec.Code, rec.Header().Get("Location"))
		}
	}
}

// TestColumnsSayWhatIsWrong: the feature that has changed stands first, with its
// alarm, its four distances and where it began.
func TestColumnsSayWhatIsWrong(t *testing.T) {
	w, _ := watchedWorld(t)
	list := w.get("/ui/features/large_order").Body.String()
	changed, other := strings.Index(list, ">customer.spend_30d</a>"), strings.Index(list, ">customer.kind</a>")
	if changed < 0 || other < changed {
		t.Errorf("the column with an alarm is at %d, another at %d", changed, other)
	}
	page := w.get("/ui/features/large_order/customer.spend_30d").Body.String()
	for _, want := range []string{
		`<span class="badge bad">alarm</span>`, "Jensen–Shannon divergence", "base 2", "below 0.0001 counts as 0.0001", "Kolmogorov–Smirnov", "cut at the quantiles",
		"m-onset", "times that over the 40 d before", "what the version learned from", "Mean of customer.spend_30d and its deviation over 5 d", "customer.spend_30d of ", "m-wrong", "m-right", "3 records behind",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the column lacks %q", want)
		}
	}
}

func TestPredictionsSayWhatIsKnown(t *testing.T) {
	w, _ := watchedWorld(t)
	page := w.get("/ui/predictions/large_order").Body.String()
	for _, want := range []string{
		"<dt>Predictions</dt><dd>2,400</dd>", "<dt>Answered</dt><dd>2,280</dd>", "<dt>Unanswered</dt><dd>120<small>", "<dt>Late</dt><dd>3",
		"version 1: last ", "version 2: last ", "base rate: last ", "hold for all times together", "Calibration of version 2", "customer.kind=red", "labels, mean over 5 d: last 0.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := w.get("/ui/predictions/next_amount").Body.String(); strings.Contains(page, "Calibration") || !strings.Contains(page, "squared error") {
		t.Error("a regression has a calibration, or the loss of another task")
	}
}

// TestEntityBand compares with the definition.
func TestEntityBand(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var points []monitor.EntityPoint
	for range 300 {
		p := monitor.EntityPoint{Time: 1, Value: random.NormFloat64()}
		if n := len(points); n > 0 {
			p.Time = points[n-1].Time + int64(random.IntN(3))*time.Hour.Microseconds()
		}
		if random.IntN(5) == 0 {
			p.Value = math.NaN()
		}
		points = append(points, p)
	}
	window := 10 * time.Hour
	for i, got := range entityBand(points, window) {
		var values []float64
		sum := 0.0
		for _, p := range points[:i+1] {
			if p.Time > points[i].Time-window.Microseconds() && !math.IsNaN(p.Value) {
				values, sum = append(values, p.Value), sum+p.Value
			}
		}
		if len(values) < 2 {
			if !math.IsNaN(got.mean) || !math.IsNaN(got.std) {
				t.Fatalf("point %d: %v of %d values", i, got, len(values))
			}
			continue
		}
		mean, squares := sum/float64(len(values)), 0.0
		for _, v := range values {
			squares += (v - mean) * (v - mean)
		}
		std := math.Sqrt(squares / float64(len(values)-1))
		if math.Abs(got.mean-mean) > 1e-12 || math.Abs(got.std-std) > 1e-12 {
			t.Fatalf("point %d: %v, want %v %v", i, got, mean, std)
		}
	}
}

func TestPeriodOf(t *testing.T) {
	newest := time.Date(2008, 10, 7, 0, 0, 0, 0, time.UTC).UnixMicro()
	p, err := periodOf(&url.URL{Path: "/x", RawQuery: "entity=a"}, newest, 48*time.Hour)
	must(t, err)
	if p.From != "2008-10-05" || p.To != "2008-10-07" || p.End != newest+1 || p.Usual != "/x?entity=a" || p.All != "/x?entity=a&from=1970-01-01" {
		t.Errorf("%+v", p)
	}
	// The unit of the last day has its point at the day's end.
	p, err = periodOf(&url.URL{Path: "/x", RawQuery: "from=2008-10-01&to=2008-10-06"}, newest, 48*time.Hour)
	must(t, err)
	if end := time.Date(2008, 10, 7, 0, 0, 0, 0, time.UTC).UnixMicro(); p.To != "2008-10-06" || p.From != "2008-10-01" || p.End != end+1 || p.Start != end-6*24*time.Hour.Microseconds() {
		t.Errorf("%+v", p)
	}
}
