package expr

import "testing"

var stocks = []Variable{
	{"open", Float}, {"close", Float}, {"volume", Int}, {"symbol", String},
	{"time", Time}, {"halted", Bool}, {"request.ret", Float}, {"ret_mean", Float}, {"ret_std", Float},
}

var stockRow = []Value{
	FloatValue(10), FloatValue(11), IntValue(5), StringValue("AAPL"),
	TimeValue(1_700_000_000_000_000), BoolValue(false), FloatValue(0.02), FloatValue(0.001), FloatValue(0.01),
}

// plain are expressions whose evaluation must not allocate.
var plain = []struct{ name, source string }{
	{"where", `volume > 0`},
	{"log", `log(close / open)`},
	{"zscore", `(request.ret - ret_mean) / ret_std`},
	{"label", `abs(close / open - 1.0) >= 0.02`},
	{"polynomial", `1 + open*(2 + open*(3 + open*(4 + open*5)))`},
	{"ternary", `volume > 0 && !halted ? close : open`},
	{"coalesce", `coalesce(close / (open - 10), 0)`},
	{"string", `symbol == "AAPL" || symbol in ["A", "B", "C"]`},
	{"prefix", `symbol.startsWith("AA") && size(symbol) < 5`},
	{"matches", `symbol.matches("^A+P")`},
	{"hour", `hour(time) >= 9 && day_of_week(time) < 6`},
}

func BenchmarkEval(b *testing.B) {
	for _, x := range plain {
		b.Run(x.name, func(b *testing.B) {
			p, err := Compile(x.source, stocks)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Eval(stockRow)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(`abs(close / open - 1.0) >= 0.02`, stocks); err != nil {
			b.Fatal(err)
		}
	}
}
