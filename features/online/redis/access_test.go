package redis

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

// The rights of the package's documentation.
var (
	rights        = strings.Fields("+get +set +mget +mset +del +pexpire +persist +eval +evalsha +scan")
	readerRights  = strings.Fields("+get +mget")
	clusterRights = strings.Fields("+cluster|slots +command +asking")
)

const password = "open-sesame-3141"

// setUser makes the user millrace, with just these rights, on each server.
func setUser(t *testing.T, servers []*onlinetest.Redis, keys string, rights ...string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", "millrace", "reset", "on", ">" + password, keys}
	for _, r := range rights {
		args = append(args, r)
	}
	for _, server := range servers {
		if err := client(t, server).Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// as is what the user connects with.
func as(servers []*onlinetest.Redis) Options {
	o := Options{Username: "millrace", Password: password}
	for _, server := range servers {
		o.Addresses = append(o.Addresses, server.Addr)
	}
	return o
}

func TestSuiteWithLeastRights(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		servers := []*onlinetest.Redis{onlinetest.StartRedis(t)}
		setUser(t, servers, "~*", append(slices.Clone(rights), "+config|get")...)
		return &clusterPlace{options: as(servers)}
	})
}

func TestSuiteWithLeastRightsOnCluster(t *testing.T) {
	c := newCluster(t, 3, 0)
	setUser(t, c.nodes, "~*", slices.Concat(rights, clusterRights, []string{"+config|get"})...)
	o := as(c.nodes)
	admin := redis.NewClusterClient((&Options{Addresses: o.Addresses}).clusterOptions())
	defer admin.Close()
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		flush(t, admin)
		return &clusterPlace{options: o}
	})
}

// everything makes each kind of call, on a space that was not used before, and
// returns all that went wrong.
func everything(t *testing.T, o Options, space string) error {
	t.Helper()
	var all []error
	in := online.Shard{Space: space, Index: 1}
	var token online.Token
	// With an expiry and then without one: bases that stay get the one, and lose it.
	for _, ttl := range []time.Duration{0, time.Hour, 0} {
		o.TTL = ttl
		s, err := Open(t.Context(), o)
		if err != nil {
			return err
		}
		defer s.Close()
		for _, writes := range [][]online.Write{
			{{Entity: "x", Head: []byte("h"), Base: []byte("b")}},
			{{Entity: "x", Head: []byte("h"), KeepBase: true}},
			{{Entity: "y"}},
		} {
			c := &online.Commit{Shard: in, Expect: token, Next: online.NewToken(), Writes: writes}
			if err := s.Commit(t.Context(), c); err != nil {
				all = append(all, err)
			} else {
				token = c.Next
			}
		}
		_, stateErr := s.State(t.Context(), in)
		_, _, readErr := s.Read(t.Context(), []online.Key{{Shard: in, Entity: "x"}})
		all = append(all, stateErr, readErr)
		for _, err := range s.Rows(t.Context(), space) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// TestEachRightIsNeeded takes one right at a time.
func TestEachRightIsNeeded(t *testing.T) {
	server := onlinetest.StartRedis(t)
	testEachRight(t, []*onlinetest.Redis{server}, rights)
}

func TestEachRightIsNeededOnCluster(t *testing.T) {
	c := newCluster(t, 3, 0)
	// Without +command the client asks for it again at each call, which is slow
	// and no error; for +asking a slot has to move.
	testEachRight(t, c.nodes, slices.Concat(rights, []string{"+cluster|slots"}), "+command")
}

func testEachRight(t *testing.T, servers []*onlinetest.Redis, rights []string, more ...string) {
	captureLog(t) // full of what the user may not ask
	o := as(servers)
	setUser(t, servers, "~{*", slices.Concat(rights, more)...)
	if err := everything(t, o, "whole"); err != nil {
		t.Fatalf("with all rights: %v", err)
	}
	for i, right := range rights {
		for _, server := range servers { // or no call would send the script
			if err := client(t, server).ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		setUser(t, servers, "~{*", slices.Concat(rights[:i], rights[i+1:], more)...)
		err := everything(t, o, "without"+right)
		if err == nil || !strings.Contains(err.Error(), "access list lacks a command or key") {
			t.Errorf("without %s: %v", right, err)
		}
	}
}

// TestReaderRights has a user who serves rows and cannot write them.
func TestReaderRights(t *testing.T) {
	servers := []*onlinetest.Redis{onlinetest.StartRedis(t)}
	owner := mustOpen(t, Options{Addresses: []string{servers[0].Addr}})
	c := commitOf(online.Token{}, 1, 10)
	if err := owner.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	setUser(t, servers, "%R~{s:*", readerRights...)
	s := mustOpen(t, as(servers))
	if state := checkWhole(t, s, 10); state.Token != c.Next {
		t.Error("the reader reads another commit")
	}
	if state, err := s.State(t.Context(), shard); err != nil || state.Token != c.Next {
		t.Errorf("State: %v, %v", state, err)
	}
	if err := s.Commit(t.Context(), commitOf(c.Next, 2, 10)); err == nil || !strings.Contains(err.Error(), "access list") {
		t.Errorf("a reader's commit: %v", err)
	}
}

// TestAccessList has a user of one space.
func TestAccessList(t *testing.T) {
	servers := []*onlinetest.Redis{onlinetest.StartRedis(t)}
	setUser(t, servers, "~{s:*", rights...)
	log := captureLog(t)
	o := as(servers)
	o.TTL = time.Hour
	s := mustOpen(t, o)
	if !strings.Contains(log.String(), "cannot check maxmemory-policy") {
		t.Errorf("no warning that the policy was not checked; logged %q", log.String())
	}
	c := commitOf(online.Token{}, 1, 10)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	other := commitOf(online.Token{}, 1, 1)
	other.Shard.Space = "other"
	err := s.Commit(t.Context(), other)
	if err == nil || !strings.Contains(err.Error(), "access list") {
		t.Errorf("a commit to a space of others: %v", err)
	}
	// Without the right to delete, a commit that deletes changes nothing.
	setUser(t, servers, "~{s:*", slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == "+del" })...)
	second := commitOf(c.Next, 2, 10)
	second.Writes = append(second.Writes, online.Write{Entity: "gone"})
	if err := s.Commit(t.Context(), second); err == nil || !strings.Contains(err.Error(), "access list") {
		t.Errorf("a commit without the right to delete: %v", err)
	}
	if state := checkWhole(t, s, 10); state.Token != c.Next {
		t.Error("a refused commit is in place")
	}
	o.Password = "another-2718"
	_, err = Open(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "missing or wrong") || strings.Contains(err.Error(), o.Password) {
		t.Errorf("a wrong password: %v", err)
	}
	if strings.Contains(log.String(), password) {
		t.Error("the password is in the log")
	}
}
