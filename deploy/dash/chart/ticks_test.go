package chart

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTicksCoverTheRange holds what axes rest on, over ranges of all sizes: ticks
// rise, cover the range, are few, and each has a text of its own.
func TestTicksCoverTheRange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		lo := (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(40)-20))
		hi := lo + r.Float64()*math.Pow(10, float64(r.IntN(40)-20))
		if r.IntN(10) == 0 {
			hi = lo
		}
		most, whole := 3+r.IntN(8), r.IntN(4) == 0
		ticks := linearTicks(lo, hi, most, whole)
		if len(ticks) < 2 || len(ticks) > most+3 {
			t.Fatalf("linearTicks(%v, %v, %d, %v): %d ticks", lo, hi, most, whole, len(ticks))
		}
		checkTicks(t, ticks, lo, hi)
		if whole {
			for _, k := range ticks {
				if k.at != math.Trunc(k.at) {
					t.Fatalf("linearTicks(%v, %v, %d, whole): %v", lo, hi, most, k.at)
				}
			}
		}
	}
}

func checkTicks(t *testing.T, ticks []tick, lo, hi float64) {
	t.Helper()
	some := aBit * (ticks[1].at - ticks[0].at) * 1.01
	if ticks[0].at > lo+some || ticks[len(ticks)-1].at < hi-some {
		t.Fatalf("ticks from %v to %v do not cover %v to %v", ticks[0].at, ticks[len(ticks)-1].at, lo, hi)
	}
	for i, k := range ticks {
		if strings.Contains(k.text, "NaN") || strings.Contains(k.text, "Inf") || k.text == "" {
			t.Fatalf("tick %v is written %q", k.at, k.text)
		}
		if i > 0 && ticks[i-1].at >= k.at {
			t.Fatalf("ticks %v and %v do not rise", ticks[i-1].at, k.at)
		}
	}
}

func TestTicksTellApart(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for range 5000 {
		lo := (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(16)-4))
		hi := lo + math.Abs(lo)*math.Pow(10, float64(r.IntN(6)-2))
		seen := map[string]bool{}
		for _, k := range linearTicks(lo, hi, 5, false) {
			if seen[k.text] {
				t.Fatalf("linearTicks(%v, %v): two ticks are written %q", lo, hi, k.text)
			}
			seen[k.text] = true
		}
	}
}

func TestTicksOfKnownRanges(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 1, "0 0.2 0.4 0.6 0.8 1.0"},
		{0.675, 0.699, "0.675 0.680 0.685 0.690 0.695 0.700"},
		{-40, 38, "−40 −20 0 20 40"},
		{0, 12154, "0 2,500 5,000 7,500 10,000 12,500"},
		{0, 5e6, "0 1M 2M 3M 4M 5M"},
		{5, 5, "4.7 4.8 4.9 5.0 5.1 5.2 5.3"},
		{0, 0, "−1.0 −0.5 0 0.5 1.0"},
	} {
		var got []string
		for _, k := range linearTicks(c.lo, c.hi, 5, false) {
			got = append(got, k.text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("ticks of %v to %v: %s, want %s", c.lo, c.hi, strings.Join(got, " "), c.want)
		}
	}
}

func TestLogTicksCoverTheRange(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 20000 {
		lo := math.Pow(10, r.Float64()*40-20)
		hi := lo * math.Pow(10, r.Float64()*float64(r.IntN(30)))
		ticks := logTicks(lo, hi, 5)
		if len(ticks) < 2 || len(ticks) > 12 {
			t.Fatalf("logTicks(%v, %v): %d ticks", lo, hi, len(ticks))
		}
		checkTicks(t, ticks, lo*(1+1e-9), hi*(1-1e-9))
	}
}

// TestTimeTicksAreTheStartsOfUnits compares with the calendar: each tick lies in the
// range and begins its unit, and a range of more than a second has at least two.
func TestTimeTicksAreTheStartsOfUnits(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	for range 5000 {
		lo := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() + r.Int64N(40*365*86400e6)
		length := int64(math.Pow(10, 6+r.Float64()*9))
		hi, most := float64(lo+length), 4+r.IntN(9)
		ticks := timeTicks(float64(lo), hi, most)
		if len(ticks) > most || length > 1e6 && len(ticks) < 1 {
			t.Fatalf("timeTicks over %v: %d ticks, at most %d", time.Duration(length)*1000, len(ticks), most)
		}
		for i, k := range ticks {
			at := time.UnixMicro(int64(k.at)).UTC()
			if k.at < float64(lo) || k.at > hi {
				t.Fatalf("tick %v is not within %v to %v", at, lo, hi)
			}
			if i > 0 && k.at <= ticks[i-1].at {
				t.Fatalf("ticks do not rise at %v", at)
			}
			if i == 0 && k.under == "" && len(k.text) != 4 {
				t.Fatalf("the first tick %q leaves its year or day open", k.text)
			}
			if !strings.Contains(k.text, ":") && !strings.Contains(k.text, ".") && !at.Equal(at.Truncate(24*time.Hour)) {
				t.Fatalf("tick %q at %v is not the start of a day", k.text, at)
			}
			if year, err := strconv.Atoi(k.text); err == nil && (year != at.Year() || at.YearDay() != 1) {
				t.Fatalf("tick %q at %v is not the start of that year", k.text, at)
			}
		}
	}
}

func TestTimeTicksOfKnownRanges(t *testing.T) {
	at := func(s string) float64 {
		v, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return float64(v.UnixMicro())
	}
	for _, c := range []struct{ from, to, want string }{
		{"2003-01-01 00:00:00", "2015-12-31 00:00:00", "2004 2006 2008 2010 2012 2014"},
		{"2008-08-15 00:00:00", "2009-02-10 00:00:00", "Sep/2008 Oct Nov Dec Jan/2009 Feb"},
		{"2008-12-28 00:00:00", "2009-01-08 00:00:00", "29 Dec/2008 31 Dec 1 Jan/2009 3 Jan 5 Jan 7 Jan"},
		{"2008-10-06 20:00:00", "2008-10-07 09:00:00", "21:00/6 Oct 2008 00:00/7 Oct 2008 03:00 06:00 09:00"},
		{"2008-10-06 20:00:00", "2008-10-06 20:00:50", "20:00:00/6 Oct 2008 20:00:15 20:00:30 20:00:45"},
	} {
		var got []string
		for _, k := range timeTicks(at(c.from), at(c.to), 6) {
			s := k.text
			if k.under != "" {
				s += "/" + k.under
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s to %s: %s, want %s", c.from, c.to, strings.Join(got, " "), c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -0.5: "−0.5", 0.123456: "0.1235", 12.3456: "12.35", 999.96: "1000", 1234.56: "1,234.6", 12154: "12,154", -1234567: "−1,234,567",
		1.5e-7: "1.5e-07", 1e20: "1e+20", math.Inf(1): "none",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
	if got := Number(math.NaN()); got != "none" {
		t.Errorf("Number(NaN) = %q", got)
	}
}

func TestRange(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{-inf, 0.125, "≤ 0.125"}, {0.125, 0.25, "0.125 – 0.25"}, {1234567, inf, "> 1.23e6"}, {-inf, inf, "all"}, {-20, 1500, "−20 – 1,500"},
		{math.Nextafter(0, -1), 0, "0"}, {-inf, math.Nextafter(0, -1), "< 0"}, {math.Nextafter(1, 0), 1, "1"}, {-inf, math.Nextafter(1, 0), "< 1"}, {math.Nextafter(2.5, 0), inf, "≥ 2.5"}, {0, 1, "0 – 1"},
	} {
		if got := Range(c.lo, c.hi); got != c.want {
			t.Errorf("Range(%v, %v) = %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
}
