package dash

import (
	"bytes"
	"net/http"
	"time"
)

const (
	// maxStreams is how many browsers may follow at a time. Each holds a
	// connection and no queue.
	maxStreams = 100

	// beatEvery is how often a browser hears something though nothing has changed,
	// so that it sees when it hears no more.
	beatEvery = 5 * time.Second

	// sendWait is for how long a message may take to be sent. One that is slower
	// is let go, and may come again.
	sendWait = 10 * time.Second

	// streamFor is how long a stream lasts. A browser comes again at once, and is
	// asked anew who it is, so that who has been removed hears no more.
	streamFor = 10 * time.Minute

	// retry is when a browser comes again, in milliseconds.
	retry = "retry: 2000\n\n"
)

// turns bounds what is under way at a time.
type turns chan struct{}

func (t turns) take() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t turns) leave() { <-t }

// events is a stream of server-sent events: the state whenever it has changed, at
// most once a second. Each is the whole of it, so that what a browser misses while
// it is away is in the next. It ends with the request, or with the server.
func (d *Dash) events(w http.ResponseWriter, v *visit) error {
	if v.Method == http.MethodHead {
		return badRequest("This is a stream: use GET.")
	}
	if !d.streams.take() {
		return &fault{RetryAfter: "30", Status: http.StatusServiceUnavailable, Title: "Too many follow", Text: "So many browsers follow the page at once that no more may. Load the page again to see what is new."}
	}
	defer d.streams.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy in front must not keep it back
	s := stream{w, http.NewResponseController(w)}
	if !s.send([]byte(retry)) {
		return nil
	}
	until := time.Now().Add(streamFor)
	tick := time.NewTicker(d.fresh)
	defer tick.Stop()
	var last []byte
	var sent time.Time
	for time.Now().Before(until) {
		_, message := d.now(v.Context())
		switch {
		case !bytes.Equal(message, last):
			if !s.event("state", message) {
				return nil
			}
			last, sent = message, time.Now()
		case time.Since(sent) >= d.beat:
			if !s.event("beat", []byte("{}")) {
				return nil
			}
			sent = time.Now()
		}
		select {
		case <-tick.C:
		case <-v.Context().Done():
			return nil
		}
	}
	return nil
}

// A stream writes to one browser.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) event(name string, data []byte) bool {
	return s.send([]byte("event: " + name + "\ndata: " + string(data) + "\n\n"))
}

// send reports whether a message has gone out. The server's limit of the time that
// an answer takes is put off by each.
func (s *stream) send(message []byte) bool {
	_ = s.control.SetWriteDeadline(time.Now().Add(sendWait)) // where it cannot be, the server's limit holds, and the browser comes again
	if _, err := s.w.Write(message); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
