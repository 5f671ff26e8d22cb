package redis

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A proxy passes on bytes until it has passed on a number of them, then cuts
// the connection.
type proxy struct {
	listener net.Listener
	target   string

	mu       sync.Mutex
	toServer int64 // bytes left to pass on; negative: no limit
	toClient int64
	silent   bool // pass on nothing, cut nothing

	wg sync.WaitGroup
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, toServer: -1, toClient: -1}
	stop := make(chan struct{})
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c, stop) })
		}
	})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve(c net.Conn, stop chan struct{}) {
	defer c.Close()
	s, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer s.Close()
	cut := make(chan struct{}, 2)
	p.wg.Go(func() { p.pass(s, c, &p.toServer); cut <- struct{}{} })
	p.wg.Go(func() { p.pass(c, s, &p.toClient); cut <- struct{}{} })
	select {
	case <-cut:
	case <-stop:
	}
}

func (p *proxy) pass(to io.Writer, from io.Reader, left *int64) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		end := err != nil
		if p.silent {
			n = 0
		}
		if *left >= 0 && int64(n) >= *left {
			n, end = int(*left), true
		}
		if *left > 0 {
			*left -= int64(n)
		}
		p.mu.Unlock()
		if _, err := to.Write(b[:n]); err != nil || end {
			return
		}
	}
}

func (p *proxy) limit(toServer, toClient int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toServer, p.toClient = toServer, toClient
}
