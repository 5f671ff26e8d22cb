package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/project"
)

// serverFlag is the flag of commands that ask a running server.
type serverFlag struct {
	Server string `placeholder:"URL" help:"The server. Without it, the one that http.listen of the project names."`
}

// client returns a client of the server.
func (f serverFlag) client(p *project.Project) (*client.Client, error) {
	url := f.Server
	if url == "" {
		host, port, err := net.SplitHostPort(p.HTTP.Listen)
		if err != nil || port == "0" {
			return nil, usagef("http.listen %s does not say where the server is; name it with --server", p.HTTP.Listen)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // all addresses of a machine: of this one
			host = "127.0.0.1"
		}
		url = "http://" + net.JoinHostPort(host, port)
	}
	c, err := client.New(url)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// explain adds what to do to the error of a server that is not there.
func explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf(`no server listens there; start "millrace run", or name another with --server: %w`, err)
	}
	return err
}
