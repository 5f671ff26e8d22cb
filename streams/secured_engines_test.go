//go:build engines

package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/loadtest/engines"
)

// securely are the options of a user of the secured broker.
func securely(t *testing.T, s engines.Secured, m Mechanism, user, password string) Options {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificate", s.CAFile)
	}
	return Options{Addresses: s.Addresses, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, SASL: SASL{m, user, password}}
}

// grant gives the user App rights on all topics or groups that begin with a prefix.
func grant(t *testing.T, s engines.Secured, kind kmsg.ACLResourceType, prefix string, operations ...kmsg.ACLOperation) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kgo.NewClient(kgo.SeedBrokers(net.JoinHostPort(host, strconv.Itoa(n+1))))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	req := kmsg.NewPtrCreateACLsRequest()
	for _, o := range operations {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = kind, prefix, kmsg.ACLResourcePatternTypePrefixed
		c.Principal, c.Host, c.Operation, c.PermissionType = "User:"+s.App, "*", o, kmsg.ACLPermissionTypeAllow
		req.Creations = append(req.Creations, c)
	}
	res, err := req.RequestWith(testContext(t), k)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			t.Fatal(err)
		}
	}
}

// allowed waits until do is no longer refused: the broker learns of new rights a
// moment after it has taken them.
func allowed(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx := testContext(t)
	for try := 0; ; try++ {
		err := do(ctx)
		if err == nil {
			return
		}
		var refused kafka.Error
		if !errors.As(err, &refused) || refused.Temporary() || pause(ctx, min(try, 2)) != nil {
			t.Fatal(err)
		}
	}
}

// TestSecured works with the least rights, under each mechanism. They are what the
// documentation lists.
func TestSecured(t *testing.T) {
	s := engines.KafkaSecure(t)
	for _, m := range []Mechanism{Plain, ScramSHA256, ScramSHA512} {
		t.Run(string(m), func(t *testing.T) {
			o := securely(t, s, m, s.App, s.AppPassword)
			c, err := Connect(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			topic := unique(t, "least")
			if err := c.Ensure(testContext(t), topic, 1, nil); err == nil || !strings.Contains(err.Error(), `allow user "app" Describe on that topic`) {
				t.Errorf("without rights: %v", err)
			}
			grant(t, s, kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe)
			allowed(t, func(ctx context.Context) error { return c.Ensure(ctx, topic, 1, nil) })
			warnings, err := c.CheckSource(testContext(t), topic)
			if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "DescribeConfigs on that topic") {
				t.Errorf("without DescribeConfigs: %q, %v", warnings, err)
			}
			p := newProducer(t, c)
			if _, err := p.Produce(testContext(t), topic, numbered(0, 1)); err == nil || !strings.Contains(err.Error(), `allow user "app" Write on that topic`) {
				t.Errorf("without Write: %v", err)
			}
			r := c.Reader(topic, 0, 0)
			if _, err = r.Fetch(testContext(t)); err == nil || !strings.Contains(err.Error(), `allow user "app" Read on that topic`) {
				t.Errorf("without Read: %v", err)
			}
			r.Close()
			grant(t, s, kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribeConfigs)
			allowed(t, func(ctx context.Context) error {
				_, err := p.Produce(ctx, topic, numbered(0, 1))
				return err
			})
			if err := c.Share(testContext(t), topic, []string{topic}, func(context.Context, string, int) {}, func(error) {}); err == nil || !strings.Contains(err.Error(), `allow user "app" Read on that group`) {
				t.Errorf("without the group: %v", err)
			}
			grant(t, s, kmsg.ACLResourceTypeGroup, topic, kmsg.ACLOperationRead)
			allowed(t, func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				err := c.Share(ctx, topic, []string{topic}, func(context.Context, string, int) { cancel() }, func(error) {})
				if errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			})
			if warnings, err := c.CheckSource(testContext(t), topic); err != nil || len(warnings) > 0 {
				t.Errorf("with DescribeConfigs: %q, %v", warnings, err)
			}
			useCluster(t, o, topic+"b", topic)
		})
	}
}

// TestSecuredNoAccess disagrees with real brokers in each way.
func TestSecuredNoAccess(t *testing.T) {
	s := engines.KafkaSecure(t)
	good := securely(t, s, ScramSHA512, s.App, s.AppPassword)
	plain := engines.Kafka(t)
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"PLAIN":             {Options{s.Addresses, good.TLS, SASL{Plain, s.App, "wr0ng"}}, `the broker refuses user "app" by PLAIN; check the user and the password`},
		"SCRAM-SHA-256":     {Options{s.Addresses, good.TLS, SASL{ScramSHA256, s.App, "wr0ng"}}, `the broker refuses user "app" by SCRAM-SHA-256; check`},
		"SCRAM-SHA-512":     {Options{s.Addresses, good.TLS, SASL{ScramSHA512, "nobody", "wr0ng"}}, `the broker refuses user "nobody" by SCRAM-SHA-512; check`},
		"no user":           {Options{s.Addresses, good.TLS, SASL{}}, "it expects a user (sasl)"},
		"no TLS":            {Options{s.Addresses, nil, good.SASL}, "expects TLS"},
		"neither":           {Options{s.Addresses, nil, SASL{}}, "expects TLS"},
		"authority":         {Options{s.Addresses, &tls.Config{MinVersion: tls.VersionTLS12}, good.SASL}, "give the authority's certificate as tls.ca_file"},
		"TLS not expected":  {Options{plain, good.TLS, SASL{}}, "that port does not speak TLS"},
		"SASL not expected": {Options{plain, nil, good.SASL}, "that port does not ask who we are; leave sasl out"},
	} {
		t.Run(name, func(t *testing.T) {
			cl, err := Connect(c.o)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			_, err = cl.ID(testContext(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(fmt.Sprintf("%+v", err), "wr0ng") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
