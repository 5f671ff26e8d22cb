package streams

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestNotKafka connects to ports of other servers, which answer something, as
// an HTTP server does.
func TestNotKafka(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP":            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request",
		"another request": "\x00\x00\x20\x00HTTP/1.1" + strings.Repeat("\x7f", 8<<10),
		"negative":        "\xff\xff\xff\xffHTTP/1.1 400 Bad Request\r\n",
		"TLS alert":       "\x15\x03\x03\x00\x02\x02\x46\x00",
	} {
		t.Run(name, func(t *testing.T) {
			addr := answering(t, answer)
			c := connect(t, addr)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.ID(testContext(t))
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "not Kafka") || !strings.Contains(err.Error(), addr) {
				t.Errorf("%v, want that %s is not Kafka", err, addr)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
		})
	}
}

// answering gives each connection the same answer to whatever it asks.
func answering(t *testing.T, answer string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				in := bufio.NewReader(nc)
				if _, err := in.Peek(8); err == nil {
					_, _ = io.WriteString(nc, answer) // fails where the client has seen enough
				}
				_, _ = io.Copy(io.Discard, in) // until the client hangs up
			})
		}
	})
	return ln.Addr().String()
}
