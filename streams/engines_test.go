//go:build engines

package streams

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/millrace/millrace/loadtest/engines"
)

// startMemory returns the address of a real Kafka: with the tag engines, the suite
// runs on that.
func startMemory(t testing.TB) string {
	t.Helper()
	return engines.Kafka(t)[0]
}

// unique returns a name of a topic or group that no other test run has used.
func unique(_ testing.TB, name string) string { return strings.ToLower(name + "." + rand.Text()) }
