package learn

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 0))
	for n := range 200_000 {
		x := (r.Float64()*2 - 1) * 700
		switch {
		case n < 100:
			x = float64(n)/100*math.Ln2 + 1e-17 // about the borders of the reduction
		case n < 200:
			x = math.Ldexp(x, -n)
		}
		got, want := Exp(x), math.Exp(x)
		if math.Abs(got-want) > 2*(math.Nextafter(want, math.Inf(1))-want) {
			t.Fatalf("exp(%v) is %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{0, math.Copysign(0, -1), 1e-300} {
		if Exp(x) != 1 {
			t.Errorf("exp(%v) is %v", x, Exp(x))
		}
	}
	if Exp(1) != math.E {
		t.Errorf("exp(1) is %v", Exp(1))
	}
}
