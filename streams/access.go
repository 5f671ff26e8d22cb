package streams

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// An AccessError says that a broker and we do not agree on how to talk: on TLS,
// on its certificate, or on who we are.
type AccessError struct {
	Address string
	Problem string // what is wrong and what to do
	err     error
}

func (e *AccessError) Error() string {
	if e.err == nil {
		return e.Address + ": " + e.Problem
	}
	return fmt.Sprintf("%s: %s: %v", e.Address, e.Problem, e.err)
}

// open connects to a broker, with TLS and SASL where they are asked for, within
// dialTimeout.
func (c *Cluster) open(ctx context.Context, address string) (*conn, error) {
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := c.dialer.DialContext(limited, "tcp", address)
	if err != nil {
		return nil, err
	}
	k := &conn{Conn: nc, address: address, cluster: c}
	if err = c.encrypt(limited, k); err == nil {
		k.in = bufio.NewReader(k.Conn)
		err = c.authenticate(limited, k)
	}
	if err == nil {
		return k, nil
	}
	nc.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

// encrypt makes a TLS connection of k's.
func (c *Cluster) encrypt(ctx context.Context, k *conn) error {
	if c.tls == nil {
		return nil
	}
	config := c.tls
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(k.address)
	}
	secure := tls.Client(k.Conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return &AccessError{k.address, tlsProblem(ctx, err), err}
	}
	k.Conn = secure
	return nil
}

// tlsProblem says what a failed handshake means.
func tlsProblem(ctx context.Context, err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return "the broker's certificate is of an authority that is not trusted here; give the authority's certificate as tls.ca_file"
	case errors.As(err, &name):
		return "the broker's certificate is for another name; use that one as the address, or give it as tls.server_name"
	case errors.As(err, &certificate):
		return "the broker's certificate is not valid"
	case alerted(err):
		return refusesTLS
	case ctx.Err() != nil:
		return "that port does not speak TLS, or its broker is not well; use the broker's port with TLS, or leave tls out"
	}
	return "that port does not speak TLS; use the broker's port with TLS, or leave tls out"
}

const refusesTLS = "the broker refuses the TLS connection; where it asks for a certificate of ours, give tls.cert_file and tls.key_file"

// alerted says whether the other side of a TLS connection ended it with a reason.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// authenticate proves who we are.
func (c *Cluster) authenticate(ctx context.Context, k *conn) error {
	if c.sasl == nil {
		return nil
	}
	s := *c.sasl
	if s.Mechanism == Plain && c.tls == nil && !loopback(k.RemoteAddr()) {
		return &AccessError{k.address, "PLAIN would send the password over the network as it is; use TLS, or SCRAM-SHA-512", nil}
	}
	if err := k.handshake(ctx, string(s.Mechanism)); err != nil {
		return err
	}
	mechanism, err := s.mechanism()
	if err != nil {
		return &AccessError{k.address, fmt.Sprintf("%v cannot be tried", s), err}
	}
	session, message, err := mechanism.Start(ctx)
	for done := false; err == nil && !done; {
		var challenge []byte
		if challenge, err = k.prove(ctx, s, message); err != nil {
			return err
		}
		done, message, err = session.Next(ctx, challenge)
	}
	if err != nil { // the broker is not who knows our password
		return &AccessError{k.address, fmt.Sprintf("the broker does not prove itself to %v", s), err}
	}
	return nil
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case Plain:
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case ScramSHA256:
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	}
	return scram.Mechanism(scram.SHA512, s.Username, s.Password)
}

// handshake agrees on a mechanism.
func (k *conn) handshake(ctx context.Context, mechanism string) error {
	r, err := k.ask(ctx, saslHandshakeVersion, &saslhandshake.Request{Mechanism: mechanism})
	if err != nil {
		return err
	}
	answer := r.(*saslhandshake.Response)
	switch e := kafka.Error(answer.ErrorCode); e {
	case 0:
		return nil
	case kafka.UnsupportedSASLMechanism:
		return &AccessError{k.address, fmt.Sprintf("the broker does not know the SASL mechanism %s; it has %s", mechanism, strings.Join(answer.Mechanisms, ", ")), nil}
	case kafka.IllegalSASLState:
		return &AccessError{k.address, "that port does not ask who we are; leave sasl out, or use the port that does", nil}
	default:
		return &AccessError{k.address, "the broker refuses SASL", e}
	}
}

// prove sends a message of the mechanism and returns the broker's answer.
func (k *conn) prove(ctx context.Context, s SASL, message []byte) ([]byte, error) {
	r, err := k.ask(ctx, saslAuthenticateVersion, &saslauthenticate.Request{AuthBytes: message})
	if errors.Is(err, io.EOF) { // how some say no
		return nil, &AccessError{k.address, fmt.Sprintf("the broker hung up on %v; check the user and the password", s), err}
	}
	if err != nil {
		return nil, err
	}
	answer := r.(*saslauthenticate.Response)
	switch e := kafka.Error(answer.ErrorCode); e {
	case 0:
		return answer.AuthBytes, nil
	case kafka.SASLAuthenticationFailed:
		return nil, &AccessError{k.address, fmt.Sprintf("the broker refuses %v; check the user and the password", s), nil}
	default:
		return nil, &AccessError{k.address, fmt.Sprintf("the broker refuses %v", s), e}
	}
}

// tlsAlert begins what a TLS server says to those who speak no TLS.
var tlsAlert = []byte{21, 3}

// hungUp explains a connection that ends with no answer, or with the beginning of
// one. Kafka ends one so whose first request it cannot make sense of, but it may
// as well be a broker that is just ending.
func (k *conn) hungUp(said []byte, err error) error {
	switch tls, sasl := k.cluster.tls != nil, k.cluster.sasl != nil; {
	case alerted(err): // with TLS 1.3 a certificate is missed after the handshake
		return &AccessError{k.address, refusesTLS, err}
	case k.id != 1 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case !tls && bytes.HasPrefix(said, tlsAlert):
		return &AccessError{k.address, "that port expects TLS; turn tls on, or use the port without", nil}
	case !tls && !sasl:
		return &AccessError{k.address, "the broker hung up at the first request; where it goes on doing so, it expects TLS (tls) or a user (sasl)", err}
	case !tls:
		return &AccessError{k.address, "the broker hung up at the first request; where it goes on doing so, it expects TLS (tls)", err}
	case !sasl:
		return &AccessError{k.address, "the broker hung up at the first request; where it goes on doing so, it expects a user (sasl)", err}
	}
	return err
}

// needs adds to a refusal which right the user lacks.
func (c *Cluster) needs(err error, right string) error {
	for _, refusal := range []kafka.Error{kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed} {
		if !errors.Is(err, refusal) {
			continue
		}
		who := "everybody"
		if c.sasl != nil {
			who = fmt.Sprintf("user %q", c.sasl.Username)
		}
		return fmt.Errorf("%w; allow %s %s", err, who, right)
	}
	return err
}
