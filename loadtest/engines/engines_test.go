package engines

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// A told test notes how it ended.
type told struct {
	testing.TB
	skipped, failed string
}

func (t *told) Helper() {}

func (t *told) Skipf(format string, args ...any) {
	t.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (t *told) Fatalf(format string, args ...any) {
	t.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// tell asks for Redis in a test, and returns how that ended.
func tell(t *testing.T) *told {
	inner := &told{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Redis(inner)
	}()
	<-done
	return inner
}

// TestAbsent asks for an engine at a port where nothing listens: such a test is
// skipped on a developer's machine, and never in CI.
func TestAbsent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	t.Setenv("ENGINES_PORT_SHIFT", strconv.Itoa(port-redisPort))
	t.Setenv("CI", "true")
	if got := tell(t); got.failed != "" || got.skipped != "" {
		t.Errorf("where one listens: failed %q, skipped %q", got.failed, got.skipped)
	}
	l.Close()
	const want = "start it with loadtest/engines/engines start redis"
	if got := tell(t); !strings.HasSuffix(got.failed, want) {
		t.Errorf("in CI: failed %q, skipped %q, want it failed: %s", got.failed, got.skipped, want)
	}
	t.Setenv("CI", "")
	if got := tell(t); !strings.HasSuffix(got.skipped, want) {
		t.Errorf("failed %q, skipped %q, want it skipped: %s", got.failed, got.skipped, want)
	}
	t.Setenv("ENGINES_PORT_SHIFT", "many")
	if got := tell(t); !strings.Contains(got.failed, "ENGINES_PORT_SHIFT=many: want a number") {
		t.Errorf("failed %q, want it to name the variable", got.failed)
	}
}
