package asking

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// A caller is one keep-alive connection. It sends bytes that are ready, because
// what asks must not take the CPU that the server needs.
type caller struct {
	net.Conn
	address string
	end     time.Time // no call goes on longer
	explain bool
	reader  *bufio.Reader
	body    []byte
	due     atomic.Int64 // of the request under way, ns since the Unix epoch; 0: there is none
	dead    atomic.Bool  // it has no connection, and no new one
	waits   []time.Duration
}

func (c *caller) dial(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.Conn = conn
	if c.reader == nil {
		c.reader = bufio.NewReader(conn)
	} else {
		c.reader.Reset(conn)
	}
	return conn.SetDeadline(c.end)
}

// requests returns a request about each entity.
func (l *Load) requests() ([][]byte, error) {
	all := make([][]byte, len(l.Entities))
	for i, e := range l.Entities {
		body, err := json.Marshal(question{map[string]string{entity: e}, l.Explain})
		if err != nil {
			return nil, err
		}
		all[i] = fmt.Appendf(nil, "POST /v1/predict/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", model, l.Address, len(body), body)
	}
	return all, nil
}

type question struct {
	Entity  map[string]string `json:"entity"`
	Explain bool              `json:"explain,omitempty"`
}

// What an answer of the champion has.
var (
	byVersion    = []byte(`,"version":1,`)
	degraded     = []byte(`"degraded":`)
	contribution = []byte(`"contributions":{`)
)

// answer reads the answer to the request under way. One that is not the
// champion's is an error.
func (c *caller) answer() error {
	r, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.ContentLength < 0 || r.ContentLength > maxAnswer {
		return fmt.Errorf("an answer of %d bytes; at most %d were expected", r.ContentLength, maxAnswer)
	}
	if cap(c.body) < int(r.ContentLength) {
		c.body = make([]byte, r.ContentLength)
	}
	c.body = c.body[:r.ContentLength]
	if _, err := io.ReadFull(r.Body, c.body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", r.Status, bytes.TrimSpace(c.body))
	}
	if !bytes.Contains(c.body, byVersion) || bytes.Contains(c.body, degraded) || bytes.Contains(c.body, contribution) != c.explain {
		return fmt.Errorf("not what version 1 answers: %s", c.body)
	}
	return nil
}

// maxAnswer is the most bytes of an answer; one with its explanation has about 4000.
const maxAnswer = 1 << 16
