// Package redis keeps the online store in Redis or Valkey, from version 7.0,
// single or cluster: for several processes that share one store.
//
// A commit is one script call, which Redis runs alone and replicates and logs
// whole. A server that loses its last second, or a fail-over that loses what
// the replica had not yet, loses rows and progress together, and the pipeline
// reads the log again from the progress that is left.
//
// One case needs the operator, on Redis (seen with 7.0 and 8.2) and not on Valkey
// (9.1). A crash of the machine may cut the append-only file within a
// transaction. Redis then starts without that transaction but leaves its
// beginning in the file, and at the next start takes it for part of the
// transaction that follows: rows of a lost commit without its progress. Until
// the log has been read again up to there, a second crash would show them. Where
// the server's log says "short read while loading the AOF file", run
// BGREWRITEAOF before the pipeline goes on. Commits without an expiry, of
// at most 3,900 parts and without deletions are one record and not concerned;
// nor are snapshots (RDB) and replicas.
//
// The keys of a shard have one hash tag, so they lie on one node of a cluster:
//
//	{space:shard}s        the shard's state: the encoding of online.State and
//	                      a byte, 1 if some row was ever written with an expiry
//	{space:shard}hENTITY  a row's head
//	{space:shard}bENTITY  a row's base
//
// While a cluster moves a slot to another node key by key, it refuses each call
// with several keys of which one is not there, as most commits and reads have:
// the shards of that slot wait until it has moved, and their reads say so.
// Rows misses what moves to a master that has no slot yet.
//
// A user of an access list needs +get +set +mget +mset +del +pexpire +persist
// +eval +evalsha +scan, and +config|get for the check of the memory policy, on
// the keys ~{SPACE:*. A user that only reads (State and Read, as a server does)
// needs +get +mget, and +config|get, on the keys %R~{SPACE:*. In a cluster both
// need +cluster|slots +command +asking as well.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/millrace/millrace/features/online"
)

// The bounds of a wait for the server. go-redis honours a context's deadline
// while it waits for an answer but not its cancellation, so a call returns at
// most callTimeout after that.
const (
	dialTimeout = 2 * time.Second
	callTimeout = 4 * time.Second
)

// Options say how to reach the server. Only Addresses is required.
type Options struct {
	Addresses []string // host:port; several, or any one, for a cluster
	Username  string
	Password  string
	TLS       *tls.Config // nil: no TLS

	// TTL is housekeeping: a row that no commit has written for so long is
	// removed, its head and its base alike. It must exceed the longest window,
	// the lateness and the topic's retention together. 0: rows stay. A shard's
	// state always stays.
	TTL time.Duration
}

// A Store is an online.Store in Redis.
type Store struct {
	client  redis.UniversalClient
	address string // for messages
	secret  string // the password, to keep it out of messages
	ttl     int64  // milliseconds

	// expiring has the shards whose rows had an expiry at some time, by Shard:
	// without one now, commits to them make the bases that stay lasting.
	expiring sync.Map
}

// Open connects to the server, or to all masters of a cluster, and makes sure
// that each can hold the store: its version, that it is no replica, and that it
// does not evict. A server that cannot be reached is an error at once: the caller
// decides how long to try again.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Store{address: strings.Join(o.Addresses, ","), secret: o.Password, ttl: o.TTL.Milliseconds()}
	h, err := s.hello(ctx, &o)
	if err != nil {
		return nil, err
	}
	switch {
	case h.mode == "cluster":
		s.client = redis.NewClusterClient(o.clusterOptions())
	case len(o.Addresses) > 1:
		return nil, fmt.Errorf("redis %s: several addresses, but the server is not part of a cluster; give one", s.address)
	default:
		s.client = redis.NewClient(o.options(o.Addresses[0]))
	}
	if err := s.checkServers(ctx); err != nil {
		s.client.Close()
		return nil, err
	}
	return s, nil
}

func (o *Options) check() error {
	if len(o.Addresses) == 0 {
		return errors.New("redis: no address; give host:port")
	}
	for i, a := range o.Addresses {
		// The address is not shown: it may be a URL with a password in it.
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" || strings.ContainsAny(a, "/@") {
			return fmt.Errorf("redis: address %d is not host:port", i+1)
		}
	}
	if o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second {
		return fmt.Errorf("redis: ttl %v; at least 1s, or 0 for rows that stay", o.TTL)
	}
	return nil
}

// options of a connection to one server. There are no retries inside: the
// caller waits and asks again, and knows what it has seen.
func (o *Options) options(address string) *redis.Options {
	return &redis.Options{
		Addr: address, Username: o.Username, Password: o.Password, TLSConfig: o.TLS,
		DialTimeout: dialTimeout, DialerRetries: 1, MaxRetries: -1,
		ReadTimeout: callTimeout, WriteTimeout: callTimeout, PoolTimeout: callTimeout, ContextTimeoutEnabled: true,
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// clusterOptions are those of options, and a map of the cluster that is at
// most a second old: with the default of a minute a fail-over takes twice as
// long.
func (o *Options) clusterOptions() *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: o.Addresses, Username: o.Username, Password: o.Password, TLSConfig: o.TLS,
		DialTimeout: dialTimeout, DialerRetries: 1, MaxRetries: -1,
		ReadTimeout: callTimeout, WriteTimeout: callTimeout, PoolTimeout: callTimeout, ContextTimeoutEnabled: true,
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		ClusterStateReloadInterval: time.Second,
	}
}

// fail wraps an error of the client, adding what to do about the common ones.
func (s *Store) fail(call string, err error) error { return s.failAt(s.address, call, err) }

// failAt is fail for one of the servers.
func (s *Store) failAt(address, call string, err error) error {
	err = s.hide(err)
	advice := ""
	switch msg := err.Error(); {
	case redis.HasErrorPrefix(err, "OOM"):
		advice = "the server's memory is full; raise maxmemory: "
	case redis.HasErrorPrefix(err, "MISCONF"):
		advice = "the server cannot write its files, most likely its disk is full; free space on it: "
	case redis.HasErrorPrefix(err, "READONLY"):
		advice = "the server is a replica; give the address of the master: "
	case redis.HasErrorPrefix(err, "NOAUTH"), redis.HasErrorPrefix(err, "WRONGPASS"):
		advice = "user name or password are missing or wrong: "
	case redis.HasErrorPrefix(err, "NOPERM"), strings.Contains(msg, "can't run this command"), strings.Contains(msg, "ACL failure in script"):
		advice = "the user's access list lacks a command or key (package redis lists what it needs): "
	case redis.HasErrorPrefix(err, "CLUSTERDOWN"), redis.HasErrorPrefix(err, "MASTERDOWN"):
		advice = "some slots of the cluster have no master; start it again, or let a replica take its place: "
	case redis.HasErrorPrefix(err, "TRYAGAIN"):
		advice = "the cluster is moving the shard's slot to another node; the call succeeds when it is there: "
	case redis.HasErrorPrefix(err, "LOADING"):
		advice = "the server is still reading its files; wait for it: "
	case strings.Contains(msg, "failed to verify certificate"):
		advice = "the server's certificate is not what the settings of TLS expect (its authority, and its name): "
	case strings.Contains(msg, "certificate required"), strings.Contains(msg, "bad certificate"):
		advice = "the server asks for a certificate of ours; set one, with its key: "
	case strings.Contains(msg, "connection refused"):
		advice = "no server listens there: "
	}
	return fmt.Errorf("redis %s: %s: %s%w", address, call, advice, err)
}

// hide keeps the password out of an error: servers before version 6 repeat the
// arguments of a command that they do not know, HELLO among them.
func (s *Store) hide(err error) error {
	if s.secret == "" || !strings.Contains(err.Error(), s.secret) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), s.secret, "***"))
}

// Close ends the connections. Calls under way fail.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return s.fail("close", err)
	}
	return nil
}

// prefix is all of a shard's keys but the kind and the entity.
func prefix(s online.Shard) string { return "{" + s.Space + ":" + strconv.Itoa(s.Index) + "}" }

const (
	kindState = "s"
	kindHead  = "h"
	kindBase  = "b"
)
