//go:build engines

package engines

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	real "github.com/millrace/millrace/loadtest/engines"
)

// TestSecuredCluster opens what a project file says of a Kafka with TLS and SASL.
func TestSecuredCluster(t *testing.T) {
	s := real.KafkaSecure(t)
	file := func(mechanism, tls string) string {
		return fmt.Sprintf("kafka: {addresses: [%q], tls: %s, sasl: {mechanism: %s, username: %s, password_env: MILLRACE_TEST_KAFKA}}\n", s.Addresses[0], tls, mechanism, s.App)
	}
	trusting := fmt.Sprintf("{ca_file: %q}", s.CAFile)
	for _, c := range []struct{ mechanism, tls, password, want string }{
		{"plain", trusting, s.AppPassword, ""},
		{"scram-sha-256", trusting, s.AppPassword, ""},
		{"scram-sha-512", trusting, s.AppPassword, ""},
		{"scram-sha-512", trusting, "wr0ng", "no access to Kafka; the settings are kafka.tls and kafka.sasl of the project file"},
		{"scram-sha-512", "true", s.AppPassword, "give the authority's certificate as tls.ca_file"},
		{"scram-sha-512", "false", s.AppPassword, "expects TLS"},
		{"scram-sha-512", "{ca_file: missing.pem}", s.AppPassword, "project: kafka.tls.ca_file"},
		{"scram-sha-512", trusting, "", "the environment variable MILLRACE_TEST_KAFKA is not set"},
	} {
		t.Setenv("MILLRACE_TEST_KAFKA", c.password)
		cluster, err := Cluster(t.Context(), parse(t, file(c.mechanism, c.tls)).Kafka)
		if err == nil {
			cluster.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "wr0ng")) {
			t.Errorf("%+v: %v", c, err)
		}
		if setting := c.password == "" || strings.Contains(c.tls, "missing"); errors.As(err, new(*SettingError)) != setting {
			t.Errorf("%+v: %v is a SettingError: %v", c, err, !setting)
		}
	}
}
