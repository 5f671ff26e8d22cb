package project

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxDuration is about a century: longer than any log.
const maxDuration = 36_500 * 24 * time.Hour

const durationHelp = "write a number and a unit, as 90s, 15m, 12h, 30d, 2w or 1d12h"

// ParseDuration reads a positive duration as the project file writes it: Go's
// units and d (24 hours) and w (7 days), as 30d or 1d12h; in whole
// microseconds, which is what event time is held in, and at most 36500d.
func ParseDuration(s string) (time.Duration, error) {
	if len(s) > 64 {
		return 0, fmt.Errorf("%s is not a duration; %s", quote(s), durationHelp)
	}
	rest, total := s, time.Duration(0)
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits <= 0 {
			return 0, fmt.Errorf("%q is not a duration; %s", s, durationHelp)
		}
		unit := rest[digits:]
		if end := strings.IndexAny(unit, "0123456789."); end >= 0 {
			unit = unit[:end]
		}
		d, err := part(rest[:digits], unit)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration; %s", s, durationHelp)
		}
		if d > maxDuration || total > maxDuration-d {
			return 0, fmt.Errorf("%s is too long; the longest duration is 36500d", s)
		}
		total += d
		rest = rest[digits+len(unit):]
	}
	switch {
	case s == "":
		return 0, fmt.Errorf("an empty text is not a duration; %s", durationHelp)
	case total <= 0:
		return 0, fmt.Errorf("%s is not positive; %s", s, durationHelp)
	case total%time.Microsecond != 0:
		return 0, fmt.Errorf("%s is not a whole number of microseconds", s)
	}
	return total, nil
}

// part reads a number of one unit. Hours stand in for days and weeks, so that
// fractions are as exact as Go's.
func part(number, unit string) (time.Duration, error) {
	times := time.Duration(1)
	switch unit {
	case "d":
		unit, times = "h", 24
	case "w":
		unit, times = "h", 7*24
	}
	d, err := time.ParseDuration(number + unit)
	if err != nil {
		return 0, err
	}
	if d > math.MaxInt64/times {
		return math.MaxInt64, nil
	}
	return d * times, nil
}

// units of sizes, longest name first, so that B is tried last.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// ParseSize reads a positive number of bytes as the project file writes it, as
// 64KB (64,000) or 1MiB (1,048,576).
func ParseSize(s string) (int64, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || n == 0 {
			break
		}
		return int64(n) * u.bytes, nil
	}
	return 0, fmt.Errorf("%s is not a size; write a whole number and B, KB, MB, GB, KiB, MiB or GiB, as 64KB or 1MiB", quote(s))
}
