package alarms

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A Secret is printed by nothing.
type Secret string

// Format prints that there is one, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		fmt.Fprint(f, "(secret)")
	}
}

// LogValue is for logs, which ask for no Format.
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// MarshalText is for JSON, which asks for neither.
func (s Secret) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(s)), nil }

// A Target is where alarms are told.
type Target struct {
	// URL takes the requests: https, or http on this machine. It may hold a secret,
	// as those of chat services do: only its host is in logs and errors.
	URL Secret

	// Insecure allows http to other machines, where whoever listens reads the alarms
	// and the token.
	Insecure bool

	// Header names the header for the token. Default: Authorization.
	Header string

	// Token is the header's value, as "Bearer 1a2b", from the environment. Empty: no
	// header.
	Token Secret
}

// Check says what is wrong with a target, beginning with the field in lower case.
func (t Target) Check() error {
	u, err := url.Parse(string(t.URL))
	switch {
	case err != nil: // an error that would tell the URL
		return errors.New("url: cannot be read; give one as https://alarms.example/hook")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("url: not a whole one; give one as https://alarms.example/hook")
	case u.User != nil:
		return errors.New("url: has a user in it; leave it out, and give what it stands for as the token, as \"Basic dTpw\"")
	case u.Fragment != "":
		return errors.New("url: has a #fragment, which no server gets; leave it out")
	case u.Scheme == "http" && !t.Insecure && !onThisMachine(u.Hostname()):
		return fmt.Errorf("url: http to %s would send alarms and token for all to read; give https, or say insecure", u.Host)
	case t.Header != "" && !isHeader(t.Header):
		return fmt.Errorf("header: %q cannot be the header of the token; give one as X-Token", t.Header)
	case strings.ContainsFunc(string(t.Token), func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("token: has a character that no header can have, as the end of a line; look at the environment variable")
	}
	return nil
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// isHeader says whether a token can be in the header: not in one that is set by
// us or by net/http.
func isHeader(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Trailer", "User-Agent", keyHeader:
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
