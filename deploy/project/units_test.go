package project

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "1d12h": 36 * time.Hour, "2w": 14 * day, "1.5d": 36 * time.Hour, "90s": 90 * time.Second,
		"1h30m": 90 * time.Minute, "1us": time.Microsecond, "1µs": time.Microsecond, "250ms": 250 * time.Millisecond, "36500d": maxDuration,
		// Refused:
		"": 0, "d": 0, "30": 0, "-1d": 0, "+1d": 0, "0d": 0, "1ns": 0, "1.5us": 0, "1y": 0, "1 d": 0, "1D": 0, "1..5d": 0, ".d": 0,
		"36501d": 0, "36500d1us": 0, "2000000w": 0, "9e9h": 0, "20000w20000w": 0, "1d1": 0, "∞": 0,
		"1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s": 0,
	} {
		got, err := ParseDuration(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1B": 1, "64KB": 64_000, "1MB": 1_000_000, "2GB": 2_000_000_000, "1KiB": 1024, "1MiB": 1 << 20, "1GiB": 1 << 30,
		// Refused:
		"": 0, "B": 0, "1": 0, "0B": 0, "-1B": 0, "+1B": 0, "1.5MiB": 0, "1 MiB": 0, "1mib": 0, "1TiB": 0, "99999999999GiB": 0,
	} {
		got, err := ParseSize(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"window", "window", 0}, {"windwo", "window", 1}, {"fields", "feilds", 1}, {"topic", "topics", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != got {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := closest("hop", []string{"exact", "open", "window"}); got != "" {
		t.Errorf("hop is not close to %s", got)
	}
}
