package project

import (
	"reflect"
	"strings"
	"testing"
)

func TestKafkaAccessInAFile(t *testing.T) {
	for text, want := range map[string]Kafka{
		"addresses: [k:1], tls: true": {Addresses: []string{"k:1"}, TLS: TLS{On: true}},
		"addresses: [k:1], tls: {ca_file: ca.pem}, sasl: {mechanism: plain, username: u, password_env: P}": {
			Addresses: []string{"k:1"}, TLS: TLS{On: true, CAFile: "dir/ca.pem"}, SASL: &SASL{"plain", "u", "P"}},
		"addresses: [k:1], sasl: {mechanism: scram-sha-512, username: u, password_env: P}": {
			Addresses: []string{"k:1"}, SASL: &SASL{"scram-sha-512", "u", "P"}},
		`addresses: ["127.0.0.1:1", "localhost:2", "[::1]:3"], sasl: {mechanism: plain, username: u, password_env: P}`: {
			Addresses: []string{"127.0.0.1:1", "localhost:2", "[::1]:3"}, SASL: &SASL{"plain", "u", "P"}},
	} {
		p, err := Parse("dir/p.yaml", []byte(withKafka(text)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(p.Kafka, want) {
			t.Errorf("%s is %+v, want %+v", text, p.Kafka, want)
		}
	}
	for text, want := range map[string]string{
		"tls: true": "kafka.tls: belongs to a Kafka of yours, and there are no addresses",
		"sasl: {mechanism: plain, username: u, password_env: P}":                                        "kafka.sasl: belongs to a Kafka of yours, and there are no addresses",
		"addresses: [k:1], sasl: {username: u, password_env: P}":                                        "kafka.sasl.mechanism: missing; give one of plain, scram-sha-256, scram-sha-512",
		"addresses: [k:1], sasl: {mechanism: gssapi, username: u, password_env: P}":                     `kafka.sasl.mechanism: "gssapi" is not known`,
		"addresses: [k:1], sasl: {mechanism: plain, username: u, password_env: P}":                      "kafka.sasl.mechanism: plain would send the password over the network as it is; turn on kafka.tls",
		"addresses: ['127.0.0.1:1', 'k:1'], sasl: {mechanism: plain, username: u, password_env: P}":     "kafka.sasl.mechanism: plain would send",
		"addresses: [k:1], tls: {cert_file: x}, sasl: {mechanism: plain, username: u, password_env: P}": "kafka.tls: has one of cert_file and key_file",
		"addresses: [k:1], sasl: {mechanism: scram-sha-256, password_env: P}":                           "kafka.sasl.username: missing",
		"addresses: [k:1], sasl: {mechanism: scram-sha-256, username: u}":                               "kafka.sasl.password_env: missing",
		"addresses: [k:1], sasl: {mechanism: scram-sha-256, username: u, password_env: hunter-2}":       "kafka.sasl.password_env: not the name of an environment variable",
		"addresses: [k:1], sasl: {mechanism: scram-sha-256, username: u, password: hunter2}":            "kafka.sasl.password: a secret does not belong in this file",
		"addresses: [k:1], sasl: {mechanisms: scram-sha-256, username: u, password_env: P}":             "kafka.sasl.mechanisms: unknown key; did you mean mechanism?",
		"addresses: [k:1], sasl: true":                                                                  "kafka.sasl: is true or false; write a mapping of keys to values",
	} {
		_, err := Parse("dir/p.yaml", []byte(withKafka(text)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: the error holds a secret: %v", text, err)
		}
	}
}

func withKafka(text string) string {
	return "project: shop\nkafka: {" + text + "}\n" + `sources:
  orders: {keyed_by: [customer], event_time: at, fields: {customer: string, at: time}}
views:
  n: {source: orders, entity: [customer], features: {n: {count: "*", window: 30d}}}
`
}

func TestKafkaPassword(t *testing.T) {
	s := SASL{"plain", "u", "MILLRACE_TEST_PASSWORD"}
	for _, unset := range []string{"", "empty"} {
		if unset != "" {
			t.Setenv(s.PasswordEnv, "")
		}
		if _, err := s.Password(); err == nil || !strings.Contains(err.Error(), "kafka.sasl.password_env: the environment variable MILLRACE_TEST_PASSWORD is not set") {
			t.Errorf("%q: got %v", unset, err)
		}
	}
	t.Setenv(s.PasswordEnv, "x")
	if got, err := s.Password(); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
