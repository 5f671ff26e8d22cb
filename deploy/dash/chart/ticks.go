package chart

import (
	"math"
	"strconv"
	"strings"
)

// missing is a value that is not drawn.
func missing(v float64) bool { return !(math.Abs(v) <= 1e300) }

// A tick is a place on an axis and what is written there; under is a second line,
// for the greater unit of a time.
type tick struct {
	at          float64
	text, under string
}

// niceStep returns a step of 1, 2, 2.5 or 5 times a power of ten, by which span is
// at most most steps long. Whole: at least 1, and no 2.5.
func niceStep(span float64, most int, whole bool) float64 {
	raw := span / float64(most)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if whole && m == 2.5 && power < 10 {
			continue
		}
		if step := m * power; step >= raw*(1-1e-9) {
			if whole {
				return max(1, step)
			}
			return step
		}
	}
	return 10 * power
}

// aBit is what part of a step a range may reach beyond its ticks, so that 0.675 does
// not ask for another below 135 times 0.005.
const aBit = 1e-6

// linearTicks returns at most few+3 nice numbers that cover lo to hi: the first is
// not above lo and the last not below hi, by more than a bit. lo and hi are finite, lo <= hi; where they
// are nearly the same the ticks are spread around them.
func linearTicks(lo, hi float64, few int, whole bool) []tick {
	lo, hi = spread(lo, hi, whole)
	step := niceStep(hi-lo, few, whole)
	first, last := math.Floor(lo/step+aBit), math.Ceil(hi/step-aBit)
	most := max(math.Abs(first), math.Abs(last)) * step
	var ticks []tick
	for i := first; i <= last; i++ {
		at := i * step
		ticks = append(ticks, tick{at: at, text: axisNumber(at, step, most)})
	}
	return ticks
}

// spread widens a range that is too narrow to have ticks of its own.
func spread(lo, hi float64, whole bool) (float64, float64) {
	size := max(math.Abs(lo), math.Abs(hi))
	least := max(size*1e-9, 1e-290)
	if whole {
		least = max(least, 1)
	}
	if hi-lo >= least {
		return lo, hi
	}
	pad := max(size*0.05, least)
	if size < 1e-280 {
		pad = 1
	}
	if whole {
		pad = max(1, math.Ceil(pad))
	}
	return lo - pad, hi + pad
}

// decimalsOf returns how many decimals tell multiples of step apart.
func decimalsOf(step float64) int {
	for d := range 15 {
		s := step * math.Pow(10, float64(d))
		if math.Abs(s-math.Round(s)) < 1e-6*s {
			return d
		}
	}
	return 15
}

// axisNumber writes a tick as plainly as the step allows. All ticks of an axis, whose
// greatest is most, are in the same unit.
func axisNumber(v, step, most float64) string {
	switch {
	case math.Abs(v) < step/2:
		return "0"
	case most >= 1e15 || step < 1e-5:
		return signed(strconv.FormatFloat(v, 'g', 6, 64))
	}
	for _, unit := range []struct {
		from, size float64
		name       string
	}{{1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e5, 1e3, "k"}} {
		if most >= unit.from {
			return signed(strconv.FormatFloat(v/unit.size, 'f', decimalsOf(step/unit.size), 64)) + unit.name
		}
	}
	return thousands(strconv.FormatFloat(v, 'f', decimalsOf(step), 64))
}

// signed writes a minus that is as wide as a digit.
func signed(s string) string {
	if strings.HasPrefix(s, "-") {
		return "−" + s[1:]
	}
	return s
}

// logTicks returns ticks of a logarithmic axis that cover lo to hi, both above 0:
// powers of ten, with 2 and 5 between them where there are few.
func logTicks(lo, hi float64, most int) []tick {
	first, last := int(math.Floor(math.Log10(lo)+1e-12)), int(math.Ceil(math.Log10(hi)-1e-12))
	if first == last {
		last++
	}
	every := max(1, (last-first+most-1)/most)
	between := []float64{1}
	if (last-first)*3 <= most {
		between = []float64{1, 2, 5}
	}
	var ticks []tick
	for e := first; ; e += every {
		for _, m := range between {
			at := m * math.Pow(10, float64(e))
			ticks = append(ticks, tick{at: at, text: logNumber(at, e)})
			if e >= last {
				return ticks
			}
		}
	}
}

func logNumber(v float64, exponent int) string {
	if exponent < -4 || exponent > 14 {
		return signed(strconv.FormatFloat(v, 'e', 0, 64))
	}
	return axisNumber(v, v, v)
}

// Number writes a value for people: four significant digits, thousands apart, and
// "none" for a missing one.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case missing(v):
		return "none"
	case v == 0:
		return "0"
	case a < 1e-4 || a >= 1e15:
		return signed(strconv.FormatFloat(v, 'g', 4, 64))
	case a >= 1000:
		decimals := 0
		if a < 1e4 && a != math.Trunc(a) {
			decimals = 1
		}
		return thousands(strconv.FormatFloat(v, 'f', decimals, 64))
	}
	s := strconv.FormatFloat(v, 'f', 3-int(math.Floor(math.Log10(a))), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return signed(s)
}

// thousands puts commas into the digits before the point.
func thousands(s string) string {
	sign, digits, rest := "", s, ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "−", digits[1:]
	}
	if i := strings.IndexByte(digits, '.'); i >= 0 {
		digits, rest = digits[:i], digits[i:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits + rest
}
