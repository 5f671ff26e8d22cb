package project

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTLSInAFile(t *testing.T) {
	for text, want := range map[string]TLS{
		"true":                            {On: true},
		"false":                           {},
		"{}":                              {On: true},
		"{ca_file: ca.pem}":               {On: true, CAFile: "dir/ca.pem"},
		"{ca_file: /ca.pem}":              {On: true, CAFile: "/ca.pem"},
		"{server_name: redis.lan}":        {On: true, ServerName: "redis.lan"},
		"{cert_file: a.pem, key_file: b}": {On: true, CertFile: "dir/a.pem", KeyFile: "dir/b"},
	} {
		p, err := Parse("dir/p.yaml", []byte(withTLS(t, text)))
		if err != nil {
			t.Fatalf("tls: %s: %v", text, err)
		}
		if got := p.Store.Redis.TLS; got != want {
			t.Errorf("tls: %s is %+v, want %+v", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"yes":                     `store.redis.tls: "yes" is a text; write true, or {ca_file: FILE}`,
		"":                        "store.redis.tls: has no value; write true, or",
		"[true]":                  "store.redis.tls: is a list; write true",
		"{ca: x}":                 "store.redis.tls.ca: unknown key; there are ca_file, cert_file",
		"{insecure: true}":        "store.redis.tls.insecure: unknown key; there are ca_file, cert_file, key_file, server_name",
		"{cert_file: x}":          "store.redis.tls: has one of cert_file and key_file; give both, or neither",
		"{ca_file: [a]}":          "store.redis.tls.ca_file: is a list; write a file",
		"{cert_file: x, cert: y}": "store.redis.tls.cert: unknown key",
	} {
		if _, err := Parse("dir/p.yaml", []byte(withTLS(t, text))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tls: %s: got %v, want %s", text, err, want)
		}
	}
	p := inGo(t)
	p.Store.Redis.TLS = TLS{CAFile: "ca.pem"}
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "store.redis.tls: is off and has files") {
		t.Errorf("files without On: %v", err)
	}
}

func withTLS(t *testing.T, text string) string {
	t.Helper()
	return smallest(t) + "store:\n  redis:\n    addresses: [localhost:6379]\n    tls: " + text + "\n"
}

// TestTLSConnects has a server with a certificate of an authority of its own,
// which asks its clients for theirs.
func TestTLSConnects(t *testing.T) {
	dir := t.TempDir()
	files := newAuthority(t, dir, "ca")
	files.issue(t, "server", "redis.lan")
	files.issue(t, "client", "millrace")
	newAuthority(t, dir, "foreign")

	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(files.cert)
	server, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello") // fails where the handshake does: the client says so
			c.Close()
		}
	}()
	defer func() { server.Close(); <-done }()

	at := func(name string) string { return filepath.Join(dir, name) }
	whole := TLS{On: true, CAFile: at("ca.pem"), CertFile: at("client.pem"), KeyFile: at("client.key"), ServerName: "redis.lan"}
	for _, test := range []struct {
		name   string
		change func(*TLS)
		want   string // of the error; empty: it connects
	}{
		{"all given", func(*TLS) {}, ""},
		{"the system's authorities", func(c *TLS) { c.CAFile = "" }, "signed by unknown authority"},
		{"another authority", func(c *TLS) { c.CAFile = at("foreign.pem") }, "signed by unknown authority"},
		{"another name", func(c *TLS) { c.ServerName = "kafka.lan" }, "not kafka.lan"},
		{"the address as the name", func(c *TLS) { c.ServerName = "" }, "127.0.0.1"},
		{"no certificate of the client", func(c *TLS) { c.CertFile, c.KeyFile = "", "" }, "certificate required"},
	} {
		c := whole
		test.change(&c)
		config, err := c.Config()
		if err != nil {
			t.Fatal(err)
		}
		err = greet(server.Addr(), config)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func greet(addr net.Addr, config *tls.Config) error {
	c, err := tls.Dial("tcp", addr.String(), config)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadAll(c)
	return err
}

func TestTLSFilesRefused(t *testing.T) {
	dir := t.TempDir()
	files := newAuthority(t, dir, "ca")
	files.issue(t, "client", "millrace")
	files.issue(t, "other", "millrace")
	at := func(name string) string { return filepath.Join(dir, name) }
	ca, err := os.ReadFile(at("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":  "",
		"locked": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"broken": string(ca) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		tls  TLS
		want string
	}{
		{TLS{CAFile: at("absent")}, "tls.ca_file: open " + at("absent") + ": no such file or directory; give the path"},
		{TLS{CAFile: dir}, "tls.ca_file: read " + dir + ": is a directory"},
		{TLS{CAFile: at("empty")}, "has no certificate in PEM form"},
		{TLS{CAFile: at("client.key")}, "has no certificate in PEM form"},
		{TLS{CAFile: at("broken")}, "broken: certificate 2: x509:"},
		{TLS{CertFile: at("absent"), KeyFile: at("client.key")}, "tls.cert_file: open "},
		{TLS{CertFile: at("client.pem"), KeyFile: at("absent")}, "tls.key_file: open "},
		{TLS{CertFile: at("client.pem")}, "tls.key_file: missing beside cert_file"},
		{TLS{KeyFile: at("client.key")}, "tls.cert_file: missing beside key_file"},
		{TLS{CertFile: at("client.pem"), KeyFile: at("locked")}, "has a passphrase"},
		{TLS{CertFile: at("client.pem"), KeyFile: at("other.key")}, "other.key is not the key of the certificate in tls.cert_file, " + at("client.pem")},
	} {
		test.tls.On = true
		if _, err := test.tls.Config(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	if c, err := (TLS{CAFile: at("absent")}).Config(); c != nil || err != nil {
		t.Errorf("off: got %v, %v", c, err)
	}
}

// An authority signs certificates, into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(t, name, template)
	return a
}

func (a *authority) issue(t *testing.T, name, host string) {
	t.Helper()
	a.sign(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// sign writes a certificate and its key; the first one signs itself.
func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
