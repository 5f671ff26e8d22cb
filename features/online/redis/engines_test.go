//go:build engines

package redis

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/loadtest/engines"
)

// startVersion starts a server of a test's own, which it may kill and change, of
// the version that a node runs.
func startVersion(t testing.TB, node string, args ...string) *onlinetest.Redis {
	t.Helper()
	switch node {
	case "redis": // of this machine's packages
		return onlinetest.StartRedis(t, args...)
	case "valkey":
		engines.Valkey(t)
	case "redis8":
		engines.Redis8(t)
	}
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(engines.Pid(t, node)), "exe"))
	if err != nil {
		t.Fatal(err)
	}
	return onlinetest.StartServer(t, program, args...)
}

var versions = []string{"redis", "valkey", "redis8"}

// TestSuiteOnVersions crashes each server and cuts its append-only file.
func TestSuiteOnVersions(t *testing.T) {
	for _, node := range versions {
		t.Run(node, func(t *testing.T) {
			onlinetest.Run(t, func(t *testing.T) onlinetest.Place { return newLogPlace(startVersion(t, node, withLog...)) })
		})
	}
}

// TestRightsOnVersions has a user of just the rights that the documentation
// lists.
func TestRightsOnVersions(t *testing.T) {
	for _, node := range versions {
		t.Run(node, func(t *testing.T) {
			testEachRight(t, []*onlinetest.Redis{startVersion(t, node)}, rights)
		})
	}
}

// TestEvictingPolicyOnVersions takes the policies that the server itself lists.
func TestEvictingPolicyOnVersions(t *testing.T) {
	for _, node := range versions {
		t.Run(node, func(t *testing.T) {
			server := startVersion(t, node)
			c := client(t, server)
			err := c.ConfigSet(t.Context(), "maxmemory-policy", "none such").Err()
			if err == nil {
				t.Fatal("the server took a policy that there is not")
			}
			refusals := 0
			for word := range strings.FieldsFuncSeq(err.Error(), func(r rune) bool { return strings.ContainsRune(" ,:'()", r) }) {
				if c.ConfigSet(t.Context(), "maxmemory-policy", word).Err() != nil || word == "noeviction" {
					continue
				}
				refused(t, server.Addr, "maxmemory-policy is "+word)
				refusals++
			}
			if refusals < 7 {
				t.Errorf("the server names %d policies that evict: %v", refusals, err)
			}
		})
	}
}

// TestSuiteWithTLS is the user "app", who has the least rights, with the
// authority of the server's certificate.
func TestSuiteWithTLS(t *testing.T) {
	secure := engines.RedisSecure(t)
	pem, err := os.ReadFile(secure.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificate", secure.CAFile)
	}
	o := Options{Addresses: secure.Addresses, Username: secure.App, Password: secure.AppPassword, TLS: &tls.Config{RootCAs: pool}}
	admin := redis.NewClient(&redis.Options{Addr: secure.Addresses[0], Username: secure.Admin, Password: secure.AdminPassword, TLSConfig: o.TLS})
	defer admin.Close()
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		if err := admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return &clusterPlace{options: o}
	})

	for name, test := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"another authority": {func(o *Options) { o.TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, "the server's certificate is not what the settings of TLS expect"},
		"another name":      {func(o *Options) { o.TLS = &tls.Config{RootCAs: pool, ServerName: "redis.lan"} }, "the server's certificate is not what the settings of TLS expect"},
		"no TLS":            {func(o *Options) { o.TLS = nil }, "it may want TLS"},
		"a wrong password":  {func(o *Options) { o.Password = "none" }, "missing or wrong"},
		"no user":           {func(o *Options) { o.Username, o.Password = "", "" }, "missing or wrong"},
		"TLS where none is": {func(o *Options) { o.Addresses = []string{onlinetest.StartRedis(t).Addr} }, "the server may not speak TLS on this port"},
	} {
		changed := o
		test.change(&changed)
		if _, err := Open(t.Context(), changed); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestSuiteOnCluster has three masters, each with a replica.
func TestSuiteOnCluster(t *testing.T) {
	o := Options{Addresses: engines.RedisCluster(t)}
	admin := redis.NewClusterClient(o.clusterOptions())
	defer admin.Close()
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		flush(t, admin)
		return &clusterPlace{options: o}
	})
}

// TestCutTransaction cuts the append-only file within the transaction of a
// commit. Redis shows rows of the lost commit at the start after the next, as the
// package's documentation says, unless the file was rewritten. Valkey takes the
// transaction's beginning out of the file.
func TestCutTransaction(t *testing.T) {
	for _, node := range versions {
		for _, rewrite := range []bool{false, true} {
			t.Run(node+" rewrite "+strconv.FormatBool(rewrite), func(t *testing.T) {
				testCutTransaction(t, newLogPlace(startVersion(t, node, withLog...)), !rewrite && node != "valkey", rewrite)
			})
		}
	}
}

func testCutTransaction(t *testing.T, p *logPlace, shows, rewrite bool) {
	p.Open(t)
	first := commitOf(online.Token{}, 1, 10)
	if err := p.store.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	p.Save(t)
	lost := commitOf(first.Next, 2, 10)
	lost.Writes = append(lost.Writes, online.Write{Entity: "gone"}) // a deletion makes it a transaction
	if err := p.store.Commit(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	p.store.Close()
	p.server.Kill()
	// Within the record after the rows: the last of the transaction but EXEC.
	data, err := os.ReadFile(p.log(t))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte("\r\nSET\r\n"))
	if at < int(p.saved) {
		t.Fatal("the commit is no transaction")
	}
	if err := os.Truncate(p.log(t), int64(at)+3); err != nil {
		t.Fatal(err)
	}
	p.server.Start(t)
	log, err := os.ReadFile(filepath.Join(p.server.Dir, "log"))
	if err != nil || !strings.Contains(strings.ToLower(string(log)), "short read while loading the aof file") {
		t.Errorf("the server's log does not tell of a short read: %v\n%s", err, log)
	}
	if rewrite {
		p.rewrite(t)
	}
	p.Open(t)
	if state := checkWhole(t, p.store, 10); state.Token != first.Next {
		t.Fatal("the lost commit is in place")
	}
	next := &online.Commit{Shard: shard, Expect: first.Next, Next: online.NewToken(), Progress: online.Progress{Next: 1}}
	for range 2 { // one record each, and the first may be taken for part of the transaction
		if err := p.store.Commit(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		next = &online.Commit{Shard: shard, Expect: next.Next, Next: online.NewToken(), Progress: online.Progress{Next: 1},
			Writes: []online.Write{{Entity: "other"}}}
	}
	p.store.Close()
	p.server.Kill()
	p.server.Start(t)
	p.Open(t)
	rows, _, err := p.store.Read(t.Context(), []online.Key{{Shard: shard, Entity: "e1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := !bytes.Equal(rows[0].Head, first.Writes[1].Head); got != shows {
		t.Errorf("rewritten: %t, and rows of the lost commit show: %t", rewrite, got)
	}
}
