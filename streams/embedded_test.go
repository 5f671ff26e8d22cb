//go:build !engines

package streams

import (
	"testing"

	"github.com/millrace/millrace/streams/broker"
)

// startMemory returns the address of a broker of the test's own.
func startMemory(t testing.TB) string {
	t.Helper()
	return startBroker(t, broker.Options{}).Addr()
}

// unique returns a name of a topic or group that no other test run has used.
func unique(_ testing.TB, name string) string { return name }
