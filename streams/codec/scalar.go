package codec

import (
	"errors"
	"strconv"

	"github.com/millrace/millrace/features"
)

// The first and the last microsecond of the years 0001 to 9999, which RFC 3339
// can write and Go's time, Python's datetime and SQL engines can all hold.
const (
	minTime = -62135596800000000
	maxTime = 253402300799999999
)

// parseInt reads a decimal whole number of 64 bits.
func parseInt(s string) (int64, bool) {
	i, err := strconv.ParseInt(s, 10, 64)
	return i, err == nil
}

// parseFloat reads a decimal number, or the wire form of a non-finite one. A
// number beyond a double's range is infinite. Hexadecimal, underscores and the
// other spellings of infinity that strconv takes are refused.
func parseFloat(s string) (float64, bool) {
	if x, ok := nonfinite(s); ok {
		return x, true
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return x, true
}

var perUnit = [...]int64{features.EpochSeconds: 1e6, features.EpochMillis: 1e3, features.EpochMicros: 1}

// fromEpoch returns n units since the Unix epoch in microseconds.
func fromEpoch(n int64, unit features.TimeUnit) (int64, bool) {
	scale := perUnit[unit]
	if n < minTime/scale || n > maxTime/scale {
		return 0, false
	}
	return n * scale, true
}

// parseTime reads RFC 3339: 2006-01-02T15:04:05.999999Z or an offset for the Z.
// Digits of the second beyond the sixth are dropped. time.Parse would take
// three times as long and accept hours of one digit and a decimal comma.
func parseTime(s string) (us int64, ok bool) {
	const shape = "0000-00-00T00:00:00"
	if len(s) < len(shape)+1 || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	y1, y2, month, day := pair(s, 0), pair(s, 2), pair(s, 5), pair(s, 8)
	hour, minute, second := pair(s, 11), pair(s, 14), pair(s, 17)
	year := y1*100 + y2
	if y1 < 0 || y2 < 0 || year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		uint(hour) > 23 || uint(minute) > 59 || uint(second) > 59 {
		return 0, false
	}
	micros, rest, ok := fraction(s[len(shape):])
	if !ok {
		return 0, false
	}
	offset, ok := zone(rest)
	if !ok {
		return 0, false
	}
	seconds := int64(daysFromCivil(year, month, day))*86400 + int64(hour*3600+minute*60+second-offset)
	us = seconds*1e6 + int64(micros)
	return us, us >= minTime && us <= maxTime
}

// pair returns the number of two digits at s[i:], or a number below zero.
func pair(s string, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

// fraction reads what follows the whole second, up to the zone.
func fraction(s string) (micros int, rest string, ok bool) {
	if s[0] != '.' {
		return 0, s, true
	}
	i, scale := 1, 100000
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		micros += int(s[i]-'0') * scale
		scale /= 10
	}
	return micros, s[i:], i > 1
}

// zone reads Z or an offset of hours and minutes; it returns seconds east of UTC.
func zone(s string) (offset int, ok bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hours, minutes := pair(s, 1), pair(s, 4)
	if uint(hours) > 23 || uint(minutes) > 59 {
		return 0, false
	}
	offset = hours*3600 + minutes*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

func daysIn(year, month int) int {
	if month == 2 {
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 30 + (month+month>>3)&1
}

// daysFromCivil returns the days from 1970-01-01 to a day of the Gregorian
// calendar, for years from 1 on: H. Hinnant, chrono-compatible low-level date
// algorithms. A year here begins in March, so that the leap day is its last.
func daysFromCivil(year, month, day int) int {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}
