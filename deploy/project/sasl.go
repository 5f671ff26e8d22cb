package project

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// A SASL says who we are to Kafka.
type SASL struct {
	Mechanism   string // plain, scram-sha-256 or scram-sha-512
	Username    string
	PasswordEnv string // the environment variable that holds the password
}

var mechanisms = []string{"plain", "scram-sha-256", "scram-sha-512"}

// Password returns the password from the environment.
func (s SASL) Password() (string, error) {
	password, ok := os.LookupEnv(s.PasswordEnv)
	if !ok || password == "" {
		return "", fmt.Errorf("project: kafka.sasl.password_env: the environment variable %s is not set; set it to the password", s.PasswordEnv)
	}
	return password, nil
}

func (c cursor) sasl(s *SASL) {
	c.mapping(keys{
		"mechanism":    func(c cursor) { s.Mechanism = c.name("one of " + strings.Join(mechanisms, ", ")) },
		"username":     func(c cursor) { s.Username = c.name("a user's name") },
		"password_env": func(c cursor) { s.PasswordEnv = c.name("the name of an environment variable") },
	}, absent{"password": "a secret does not belong in this file; put it in an environment variable and write the variable's name as password_env"})
}

// kafka checks how the brokers are reached.
func (c *checker) kafka(k Kafka) {
	if k.Embedded() && (k.TLS != TLS{}) {
		c.fault([]string{"kafka", "tls"}, "belongs to a Kafka of yours, and there are no addresses; give them, or remove tls")
		return
	}
	c.tls(k.TLS, "kafka", "tls")
	s := k.SASL
	if s == nil {
		return
	}
	sasl := []string{"kafka", "sasl"}
	at := func(key string) []string { return append(slices.Clip(sasl), key) }
	if k.Embedded() {
		c.fault(sasl, "belongs to a Kafka of yours, and there are no addresses; give them, or remove sasl")
		return
	}
	switch {
	case s.Mechanism == "":
		c.fault(at("mechanism"), "missing; give one of %s", strings.Join(mechanisms, ", "))
	case !slices.Contains(mechanisms, s.Mechanism):
		c.fault(at("mechanism"), "%s is not known; give one of %s", quote(s.Mechanism), strings.Join(mechanisms, ", "))
	case s.Mechanism == "plain" && !k.TLS.On && !local(k.Addresses):
		c.fault(at("mechanism"), "plain would send the password over the network as it is; turn on kafka.tls, or use scram-sha-512")
	}
	if s.Username == "" {
		c.fault(at("username"), "missing; give the user's name")
	}
	switch { // the value is not shown: it may be the password itself
	case s.PasswordEnv == "":
		c.fault(at("password_env"), "missing; put the password in an environment variable and write the variable's name here")
	case !variablePattern.MatchString(s.PasswordEnv):
		c.fault(at("password_env"), "not the name of an environment variable; write the variable's name here, as KAFKA_PASSWORD, and the password in the variable")
	}
}

// local reports whether all addresses are of this machine's loopback.
func local(addresses []string) bool {
	return !slices.ContainsFunc(addresses, func(a string) bool {
		host, _, err := net.SplitHostPort(a)
		return err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback()
	})
}
