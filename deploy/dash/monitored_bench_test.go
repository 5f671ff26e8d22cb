package dash

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/feedback/monitor"
)

// BenchmarkWatchedPages asks for the pages of a model of 1,000 features that has
// been watched for 400 days, without the time that a browser takes.
func BenchmarkWatchedPages(b *testing.B) {
	w := newWorld(b)
	var features, names strings.Builder
	for i := range 1000 {
		if i%200 == 0 {
			fmt.Fprintf(&features, "  v%d:\n    source: orders\n    entity: [customer]\n    features:\n", i/200)
		}
		fmt.Fprintf(&features, "      f%d: {sum: amount, window: %dd}\n", i, 1+i%200)
		fmt.Fprintf(&names, "v%d.f%d, ", i/200, i)
	}
	text := strings.Replace(watchedShop, "models:\n", features.String()+"models:\n", 1)
	text = strings.Replace(text, "[customer.spend_30d, customer.orders_30d, customer.kind]", "["+names.String()+"]", 1)
	text = strings.NewReplacer("[customer.kind]", "[customer]", "std: [customer.spend_30d]", "std: [v0.f0]").Replace(text)
	w.cfg.Project = parse(b, text)
	m := w.cfg.Project.Model("large_order")
	fleet, _ := watch(b, m, 400, 390)
	w.cfg.Lookout = &fleets{names: []string{m.Name}, of: map[string]*monitor.Fleet{m.Name: fleet}}
	w.open()
	for _, path := range []string{"/ui/features/large_order", "/ui/features/large_order?page=20", "/ui/features/large_order/v0.f0", "/ui/predictions/large_order"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if rec := w.get(path); rec.Code != 200 {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}
