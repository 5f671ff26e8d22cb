package serve

import (
	"fmt"
	"net/http"
)

// A Problem is why a request was not answered.
type Problem struct {
	Status int    // of HTTP
	Err    string // what is wrong and what to do, one line
	Detail string // more about it, or empty

	// extra is a further member of the error body, JSON with its name, or empty.
	extra []byte

	told bool // the log has it from elsewhere
	busy bool // too much is under way
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Err
	}
	return p.Err + ": " + p.Detail
}

func problem(status int, format string, args ...any) *Problem {
	return &Problem{Status: status, Err: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Problem {
	return problem(http.StatusBadRequest, format, args...)
}

// unavailable is a Problem that passes by itself or with an engine's return:
// the answer carries Retry-After.
func unavailable(cause error, format string, args ...any) *Problem {
	p := problem(http.StatusServiceUnavailable, format, args...)
	if cause != nil {
		p.Detail = cause.Error()
	}
	return p
}

// few lists names for a message, at most a dozen.
func few(names []string) string {
	const most = 12
	if len(names) == 0 {
		return "none"
	}
	s := ""
	for i, n := range names {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(names)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += n
	}
	return s
}

// short quotes what a caller wrote, so much of it that it is recognised.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
