package project

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TLS says how connections to a server are encrypted, and who proves what to
// whom. Files are PEM.
type TLS struct {
	On         bool
	CAFile     string // whom to trust instead of the system's authorities; empty: those
	CertFile   string // who we are, for a server that asks; with KeyFile or not at all
	KeyFile    string // the private key of CertFile, without a passphrase
	ServerName string // the name in the server's certificate, where it is not the address's host
}

// Config reads the files. It returns nil without TLS. An error begins with the
// key below the engine's, as tls.ca_file.
func (t TLS) Config() (*tls.Config, error) {
	if !t.On {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		var err error
		if c.RootCAs, err = authorities(t.CAFile); err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return c, nil
	}
	pair, err := t.pair()
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// authorities reads certificates. x509.CertPool.AppendCertsFromPEM would leave
// out those that it cannot read, and say nothing.
func authorities(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; give the path of a file that this process can read", err)
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, n+1, err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM form (-----BEGIN CERTIFICATE-----); give the certificate of the authority that signed the server's", path)
	}
	return pool, nil
}

func (t TLS) pair() (tls.Certificate, error) {
	if t.CertFile == "" {
		return tls.Certificate{}, errors.New("tls.cert_file: missing beside key_file; give both, or neither")
	}
	if t.KeyFile == "" {
		return tls.Certificate{}, errors.New("tls.key_file: missing beside cert_file; give both, or neither")
	}
	cert, err := os.ReadFile(t.CertFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.cert_file: %w; give the path of a file that this process can read", err)
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.key_file: %w; give the path of a file that this process can read", err)
	}
	if block, _ := pem.Decode(key); block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "") {
		return tls.Certificate{}, fmt.Errorf("tls.key_file: the key in %s has a passphrase; write it without one: openssl pkey -in %[1]s", t.KeyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("tls.key_file: %s is not the key of the certificate in tls.cert_file, %s: %w", t.KeyFile, t.CertFile, err)
	}
	return pair, nil
}

// tls reads true, false, or a mapping of files, which means true.
func (c cursor) tls(t *TLS) {
	const want = "true, or {ca_file: FILE} where the server's certificate is of an authority of your own"
	if c.node.kind != mapping {
		s, ok := c.scalar(want)
		if t.On = s == "true" && c.node.kind == boolean; ok && c.node.kind != boolean {
			c.fail("%s is %v; write %s", quote(s), c.node.kind, want)
		}
		return
	}
	t.On = true
	c.mapping(keys{
		"ca_file":     func(c cursor) { t.CAFile = c.name("a file") },
		"cert_file":   func(c cursor) { t.CertFile = c.name("a file") },
		"key_file":    func(c cursor) { t.KeyFile = c.name("a file") },
		"server_name": func(c cursor) { t.ServerName = c.name("a host's name") },
	}, nil)
}

// rebase makes the files relative to the project file's folder.
func (t *TLS) rebase(folder string) {
	for _, file := range []*string{&t.CAFile, &t.CertFile, &t.KeyFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(folder, *file)
		}
	}
}

// tls checks what needs no file, so that a project can be checked elsewhere
// than where it runs.
func (c *checker) tls(t TLS, path ...string) {
	switch {
	case !t.On && t != (TLS{}):
		c.fault(path, "is off and has files or a name; turn it on, or remove them")
	case (t.CertFile == "") != (t.KeyFile == ""):
		c.fault(path, "has one of cert_file and key_file; give both, or neither")
	}
}
