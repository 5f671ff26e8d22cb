// Package trades is the benchmark's workload: trades of 5,000 symbols as JSON,
// and seven statistics of each symbol over four sliding windows.
package trades

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// Symbols is the number of symbols. The k-th is traded in proportion to
// k^-1.1: the first in one of six trades, the last in one of 70,000.
const Symbols = 5000

// Plan returns the plan of the workload: count, and sum, mean, standard
// deviation, minimum and maximum of the price, and sum of the size, each over
// one minute, five minutes, an hour and a day. An empty topic is "trades".
func Plan(topic string, partitions int) (*features.Plan, error) {
	source := features.Source{
		Name: "trades", Topic: topic, KeyedBy: []string{"s"}, EventTime: "t", Partitions: partitions,
		Fields: []features.Field{
			{Name: "s", Kind: expr.String},
			{Name: "t", Kind: expr.Time, Unit: features.EpochMillis},
			{Name: "p", Kind: expr.Float},
			{Name: "v", Kind: expr.Float},
		},
	}
	view := features.View{Name: "windows", Source: source.Name, Entity: []string{"s"}}
	for _, size := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		window := strings.TrimSuffix(strings.TrimSuffix(size.String(), "0s"), "0m")
		for _, f := range [...]struct{ agg, of, name string }{
			{"count", "*", "count"}, {"sum", "p", "price_sum"}, {"mean", "p", "price_mean"}, {"std", "p", "price_std"},
			{"min", "p", "price_min"}, {"max", "p", "price_max"}, {"sum", "v", "size_sum"},
		} {
			view.Features = append(view.Features, features.Feature{
				Name: fmt.Sprintf("%s_%s", f.name, window), Agg: f.agg, Of: f.of, Window: features.Window{Size: size},
			})
		}
	}
	return features.Compile(features.EventClock, source, view)
}

// A Trade is one event.
type Trade struct {
	Symbol int
	Time   int64 // event time, ms since the Unix epoch
	Price  float64
	Size   int
}

// AppendKey appends the key of the trade's record, its symbol.
func (t *Trade) AppendKey(dst []byte) []byte {
	k := t.Symbol
	return append(dst, 'S', 'Y', 'M', byte('0'+k/1000), byte('0'+k/100%10), byte('0'+k/10%10), byte('0'+k%10))
}

// AppendJSON appends the trade as the source has it.
func (t *Trade) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"s":"`...)
	dst = t.AppendKey(dst)
	dst = append(dst, `","t":`...)
	dst = strconv.AppendInt(dst, t.Time, 10)
	dst = append(dst, `,"p":`...)
	dst = strconv.AppendFloat(dst, t.Price, 'f', -1, 64)
	dst = append(dst, `,"v":`...)
	dst = strconv.AppendInt(dst, int64(t.Size), 10)
	return append(dst, '}')
}

// A Generator makes trades in the order of their arrival. Two with one seed
// make the same.
//
// Arrivals are a Poisson process of 28.9 trades a second, that is 5 million in
// two days. Four trades in five arrive at once, the others up to ten seconds
// late. Prices stay near their symbol's own level, which is log-normal, as the
// size is.
type Generator struct {
	rand   *rand.Rand
	cdf    []float64
	levels []float64
	now    float64 // ms since start
}

const (
	start   = 1_700_000_000_000   // ms since the Unix epoch
	between = 172_800_000.0 / 5e6 // ms from one arrival to the next, on average
	latest  = 9_999.0             // ms
)

// NewGenerator returns a generator at the first trade.
func NewGenerator(seed uint64) *Generator {
	g := &Generator{rand: rand.New(rand.NewPCG(seed, 0)), cdf: make([]float64, Symbols), levels: make([]float64, Symbols)}
	sum := 0.0
	for k := range Symbols {
		sum += math.Pow(float64(k+1), -1.1)
		g.cdf[k] = sum
		g.levels[k] = math.Exp(4 + g.rand.NormFloat64())
	}
	return g
}

// Next returns the next trade.
func (g *Generator) Next() Trade {
	g.now += g.rand.ExpFloat64() * between
	at := g.now
	if g.rand.Float64() < 0.2 {
		at = max(0, at-g.rand.Float64()*latest)
	}
	k := min(sort.SearchFloat64s(g.cdf, g.rand.Float64()*g.cdf[Symbols-1]), Symbols-1)
	t := Trade{Symbol: k, Time: start + int64(at)}
	move := 1 + 0.01*math.Sin(float64(t.Time)/3.6e6+float64(k)) + 0.002*g.rand.NormFloat64()
	t.Price = math.Round(g.levels[k]*move*1e4) / 1e4
	t.Size = int(math.Round(math.Exp(4+g.rand.NormFloat64()))) + 1
	return t
}
