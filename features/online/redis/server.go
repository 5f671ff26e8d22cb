package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// oldest is the first version of Redis whose functions we use: before it a
// server has no access by sub-command, and logs a script that was cut short.
// Valkey began at 7.2.
const oldest = 7

// A hello is what a server says of itself.
type hello struct {
	server  string // redis or valkey
	version string
	mode    string // standalone, cluster or sentinel
	role    string // master or replica
}

func askHello(ctx context.Context, c *redis.Client) (hello, error) {
	v, err := c.Do(ctx, "HELLO").Result()
	if err != nil {
		return hello{}, err
	}
	fields := make(map[string]string)
	set := func(name, value any) {
		n, _ := name.(string)
		fields[n], _ = value.(string)
	}
	switch v := v.(type) {
	case map[any]any: // RESP3
		for name, value := range v {
			set(name, value)
		}
	case []any: // RESP2: names and values in turn
		for i := 0; i+1 < len(v); i += 2 {
			set(v[i], v[i+1])
		}
	}
	return hello{fields["server"], fields["version"], fields["mode"], fields["role"]}, nil
}

// checkKind refuses what cannot hold the store. A node of a cluster may be a
// replica: it tells where the masters are.
func (h hello) checkKind() error {
	switch {
	case h.mode == "sentinel":
		return errors.New("is a Sentinel, which keeps no rows; give the address of the master that it watches")
	case h.role == "replica" && h.mode != "cluster":
		return errors.New("is a replica, which takes no commits; give the address of its master")
	}
	major, _, _ := strings.Cut(h.version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldest {
		return fmt.Errorf("is %s %s; use Redis %d.0 or newer, or Valkey", h.server, h.version, oldest)
	}
	return nil
}

// hello asks the first server that answers what it is.
func (s *Store) hello(ctx context.Context, o *Options) (hello, error) {
	var first error
	for _, a := range o.Addresses {
		c := redis.NewClient(o.options(a))
		h, err := askHello(ctx, c)
		c.Close()
		switch {
		case redis.HasErrorPrefix(err, "unknown command"):
			err = fmt.Errorf("redis %s: does not know HELLO; use Redis %d.0 or newer, or Valkey, and no proxy before it: %w", a, oldest, s.hide(err))
		case errors.Is(err, io.EOF) && o.TLS == nil:
			err = fmt.Errorf("redis %s: the server ends the connection without a word; it may want TLS: %w", a, err)
		case errors.Is(err, context.DeadlineExceeded) && o.TLS != nil && ctx.Err() == nil:
			err = fmt.Errorf("redis %s: no TLS handshake within %v; the server may not speak TLS on this port: %w", a, dialTimeout, err)
		case err != nil:
			err = s.failAt(a, "connect", err)
		default:
			if err = h.checkKind(); err == nil {
				return h, nil
			}
			return hello{}, fmt.Errorf("redis %s: %w", a, err)
		}
		if first == nil {
			first = err
		}
	}
	return hello{}, first
}

// checkServers checks each server that will hold rows.
func (s *Store) checkServers(ctx context.Context) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		var asked atomic.Bool
		err := c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			asked.Store(true)
			h, err := askHello(ctx, c)
			if err != nil {
				return s.failAt(c.Options().Addr, "connect", err)
			}
			if err := h.checkKind(); err != nil {
				return fmt.Errorf("redis %s: %w", c.Options().Addr, err)
			}
			return s.checkPolicy(ctx, c)
		})
		if err != nil && !asked.Load() {
			return s.fail("find the cluster's nodes", err)
		}
		return err
	case *redis.Client:
		return s.checkPolicy(ctx, c)
	}
	return nil
}

// checkPolicy refuses a server that would drop rows when its memory is full:
// it would drop them without their progress, and the values would be wrong.
// Some servers for hire answer no CONFIG: a warning says so.
func (s *Store) checkPolicy(ctx context.Context, c *redis.Client) error {
	address := c.Options().Addr
	v, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
	var answer redis.Error
	switch policy := v["maxmemory-policy"]; {
	case errors.As(err, &answer):
		slog.Warn("redis: cannot check maxmemory-policy, it must be noeviction", "address", address, "error", s.hide(err))
	case err != nil:
		return s.failAt(address, "connect", err)
	case policy == "":
		slog.Warn("redis: the server does not tell its maxmemory-policy, it must be noeviction", "address", address)
	case policy != "noeviction":
		return fmt.Errorf("redis %s: maxmemory-policy is %s, which drops rows when the memory is full and makes features wrong; set it to noeviction", address, policy)
	}
	return nil
}
