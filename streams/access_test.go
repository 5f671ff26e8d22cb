package streams

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A guarded cluster is one with an authority of its own and users with rights.
const (
	guardUser     = "app"
	guardPassword = "s3cret of app"
)

// right is a right of the user of a guarded cluster.
func right(kind kmsg.ACLResourceType, name string, operation kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true}
}

// startGuarded starts a broker with the options, and gives its user the rights
// under every mechanism.
func startGuarded(t testing.TB, rights []kfake.ACL, more ...kfake.Opt) string {
	t.Helper()
	opts := append([]kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "x")}, more...)
	for i, m := range []Mechanism{Plain, ScramSHA256, ScramSHA512} {
		if i > 0 {
			rights = nil // they belong to the user
		}
		opts = append(opts, kfake.User(string(m), guardUser, guardPassword, rights...))
	}
	k, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k.ListenAddrs()[0]
}

// An authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = certificate(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a.pool.AddCert(a.cert)
	return a
}

func certificate(t testing.TB, c *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if by == nil {
		by = &authority{cert: c, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

// server returns a listener's configuration for 127.0.0.1, or for another name.
func (a *authority) server(t testing.TB, name string) *tls.Config {
	t.Helper()
	c := &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if name != "" {
		c = &x509.Certificate{DNSNames: []string{name}}
	}
	cert, key := certificate(t, c, a)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// TestAccess writes, reads and shares out partitions under each mechanism, with
// and without TLS.
func TestAccess(t *testing.T) {
	ca := newAuthority(t)
	rights := []kfake.ACL{
		right(kmsg.ACLResourceTypeTopic, "events", kmsg.ACLOperationRead),
		right(kmsg.ACLResourceTypeTopic, "events", kmsg.ACLOperationWrite),
		right(kmsg.ACLResourceTypeTopic, "events", kmsg.ACLOperationCreate),
		right(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationRead),
	}
	for _, secure := range []bool{false, true} {
		for _, m := range []Mechanism{Plain, ScramSHA256, ScramSHA512} {
			t.Run(fmt.Sprintf("%s TLS %v", m, secure), func(t *testing.T) {
				var opts []kfake.Opt
				o := Options{SASL: SASL{m, guardUser, guardPassword}}
				if secure {
					opts = append(opts, kfake.TLS(ca.server(t, "")))
					o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool}
				}
				o.Addresses = []string{startGuarded(t, rights, opts...)}
				useCluster(t, o, "events", "g")
			})
		}
	}
}

// useCluster makes a topic of one partition, writes to it, reads it, and is given
// its partition.
func useCluster(t *testing.T, o Options, topic, group string) {
	t.Helper()
	c, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := testContext(t)
	if err := c.Ensure(ctx, topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	write(t, newProducer(t, c), topic, numbered(0, 100)...)
	if got := readFrom(t, c, topic, 0, 0); len(got) != 100 {
		t.Errorf("%d records were read, and 100 written", len(got))
	}
	ctx, cancel := context.WithCancel(ctx)
	given := false
	err = c.Share(ctx, group, []string{topic}, func(context.Context, string, int) { given = true; cancel() }, func(error) {})
	if !given || !errors.Is(err, context.Canceled) {
		t.Errorf("share: partition given: %v; %v", given, err)
	}
}

// TestNoAccess disagrees with a broker in each way, and looks for the advice. No
// error may hold the password.
func TestNoAccess(t *testing.T) {
	ca := newAuthority(t)
	trusted := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.pool}
	guarded := startGuarded(t, nil)
	secure := startGuarded(t, nil, kfake.TLS(ca.server(t, "")))
	elsewhere := startGuarded(t, nil, kfake.TLS(ca.server(t, "kafka.lan")))
	mutual := ca.server(t, "")
	mutual.ClientAuth = tls.RequireAnyClientCert
	asks := startGuarded(t, nil, kfake.TLS(mutual))
	user := SASL{ScramSHA512, guardUser, guardPassword}
	for name, c := range map[string]struct {
		address string
		tls     *tls.Config
		sasl    SASL
		want    string
	}{
		"wrong password, PLAIN":         {guarded, nil, SASL{Plain, guardUser, "wr0ng"}, `user "app" by PLAIN; check the user and the password`},
		"wrong password, SCRAM-SHA-256": {guarded, nil, SASL{ScramSHA256, guardUser, "wr0ng"}, `user "app" by SCRAM-SHA-256; check the user and the password`},
		"wrong password, SCRAM-SHA-512": {guarded, nil, SASL{ScramSHA512, guardUser, "wr0ng"}, `user "app" by SCRAM-SHA-512; check the user and the password`},
		"unknown user":                  {guarded, nil, SASL{ScramSHA256, "nobody", "wr0ng"}, `user "nobody" by SCRAM-SHA-256; check the user and the password`},
		"no user":                       {guarded, nil, SASL{}, "hung up at the first request; where it goes on doing so, it expects TLS (tls) or a user (sasl)"},
		"no user, TLS":                  {secure, trusted, SASL{}, "expects a user (sasl)"},
		"TLS not expected":              {guarded, trusted, user, "that port does not speak TLS"},
		"authority not trusted":         {secure, &tls.Config{MinVersion: tls.VersionTLS12}, user, "give the authority's certificate as tls.ca_file"},
		"another name":                  {elsewhere, trusted, user, "give it as tls.server_name"},
		"no certificate of ours":        {asks, trusted, user, "give tls.cert_file and tls.key_file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl, err := Connect(Options{Addresses: []string{c.address}, TLS: c.tls, SASL: c.sasl})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			_, err = cl.ID(testContext(t))
			if access := new(AccessError); !errors.As(err, &access) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.address) {
				t.Errorf("got %v, want %s: %s", err, c.address, c.want)
			}
			for _, secret := range []string{guardPassword, "wr0ng"} {
				if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
					t.Errorf("the error holds the password: %v", err)
				}
			}
		})
	}
	// The name in the certificate may be given.
	named := trusted.Clone()
	named.ServerName = "kafka.lan"
	cl, err := Connect(Options{Addresses: []string{elsewhere}, TLS: named, SASL: user})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := cl.ID(testContext(t)); err != nil {
		t.Errorf("with the name of the certificate: %v", err)
	}
}

// TestSecretIsNotPrinted prints what holds a password.
func TestSecretIsNotPrinted(t *testing.T) {
	o := Options{Addresses: []string{"a:1"}, SASL: SASL{Plain, guardUser, guardPassword}}
	c, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{o, &o, o.SASL, c} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, guardPassword) {
				t.Errorf("%s of a %T: %s", format, v, text)
			}
		}
	}
}

// TestConnectRefusesSASL gives settings that cannot work.
func TestConnectRefusesSASL(t *testing.T) {
	for want, s := range map[string]SASL{
		"no SASL mechanism":                   {Username: "a", Password: "b"},
		`mechanism "GSSAPI" is not known`:     {"GSSAPI", "a", "b"},
		"PLAIN needs a user and a password":   {Plain, "a", ""},
		"SCRAM-SHA-256 needs a user and a pa": {ScramSHA256, "", "b"},
	} {
		if _, err := Connect(Options{Addresses: []string{"a:1"}, SASL: s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%#v: %v, want %q in it", s, err, want)
		}
	}
}

// TestPlainStaysHere speaks to an address that is not of loopback.
func TestPlainStaysHere(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": true, "127.1.2.3": true, "::1": true, "10.0.0.1": false, "fe80::1": false} {
		if got := loopback(&net.TCPAddr{IP: net.ParseIP(address)}); got != want {
			t.Errorf("%s: loopback %v, want %v", address, got, want)
		}
	}
	c, err := Connect(Options{Addresses: []string{"a:1"}, SASL: SASL{Plain, guardUser, guardPassword}})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe() // has no address of loopback
	defer there.Close()
	err = c.authenticate(t.Context(), &conn{Conn: here, address: "a:1", cluster: c})
	if err == nil || !strings.Contains(err.Error(), "PLAIN would send the password over the network as it is") {
		t.Errorf("got %v", err)
	}
}

// TestRights takes one right after the other away, and looks for its name.
func TestRights(t *testing.T) {
	topic := func(operations ...kmsg.ACLOperation) (all []kfake.ACL) {
		for _, o := range operations {
			all = append(all, right(kmsg.ACLResourceTypeTopic, "events", o))
		}
		return all
	}
	seed := kfake.SeedTopics(1, "events")
	for name, c := range map[string]struct {
		rights []kfake.ACL
		do     func(ctx context.Context, c *Cluster) error
		want   string
	}{
		"describe": {nil, func(ctx context.Context, c *Cluster) error {
			_, err := c.Partitions(ctx, "events")
			return err
		}, `allow user "app" Describe on that topic`},
		"read": {topic(kmsg.ACLOperationDescribe), func(ctx context.Context, c *Cluster) error {
			r := c.Reader("events", 0, 0)
			defer r.Close()
			_, err := r.Fetch(ctx)
			return err
		}, `allow user "app" Read on that topic`},
		"write": {topic(kmsg.ACLOperationRead), func(ctx context.Context, c *Cluster) error {
			p := NewProducer(c)
			defer p.Close()
			_, err := p.Produce(ctx, "events", numbered(0, 1))
			return err
		}, `allow user "app" Write on that topic`},
		"group": {topic(kmsg.ACLOperationRead), func(ctx context.Context, c *Cluster) error {
			return c.Share(ctx, "g", []string{"events"}, func(context.Context, string, int) {}, func(error) {})
		}, `allow user "app" Read on that group`},
	} {
		t.Run(name, func(t *testing.T) {
			cl, err := Connect(Options{Addresses: []string{startGuarded(t, c.rights, seed)}, SASL: SASL{ScramSHA256, guardUser, guardPassword}})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if err = c.do(testContext(t), cl); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
