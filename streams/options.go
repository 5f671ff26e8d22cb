package streams

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
)

// Options say how a cluster is reached.
type Options struct {
	Addresses []string    // host:port of any few of its brokers
	TLS       *tls.Config // nil: connections are not encrypted; an empty ServerName: the host of each address
	SASL      SASL        // who we are; the zero value: the cluster does not ask
}

// A SASL says who we are. It is never printed with its password.
type SASL struct {
	Mechanism Mechanism // empty: the cluster does not ask
	Username  string
	Password  string
}

// A Mechanism is a way to prove who one is.
type Mechanism string

// The mechanisms. Plain sends the password itself, and so goes without TLS to
// loopback addresses only; with the others the password does not leave us.
const (
	Plain       Mechanism = "PLAIN"
	ScramSHA256 Mechanism = "SCRAM-SHA-256"
	ScramSHA512 Mechanism = "SCRAM-SHA-512"
)

// String leaves the password out.
func (s SASL) String() string { return fmt.Sprintf("user %q by %s", s.Username, s.Mechanism) }

// GoString leaves the password out.
func (s SASL) GoString() string { return s.String() }

func (o Options) check() error {
	if len(o.Addresses) == 0 {
		return errors.New("no broker address is given; name at least one as host:port")
	}
	for _, a := range o.Addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("broker address %q is not host:port: %w", a, err)
		}
	}
	switch s := o.SASL; {
	case s == SASL{}:
	case s.Mechanism == "":
		return errors.New("a user or password is given, and no SASL mechanism; name one, as SCRAM-SHA-512")
	case !slices.Contains([]Mechanism{Plain, ScramSHA256, ScramSHA512}, s.Mechanism):
		return fmt.Errorf("SASL mechanism %q is not known; there are %s, %s and %s", s.Mechanism, Plain, ScramSHA256, ScramSHA512)
	case s.Username == "" || s.Password == "":
		return fmt.Errorf("SASL mechanism %s needs a user and a password; give both", s.Mechanism)
	}
	return nil
}
