package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
)

// commitScript applies a commit.
//
//	KEYS[1]           the state
//	KEYS[2 .. 1+s]    keys to set; their values are ARGV[6 .. 5+s]
//	KEYS[2+s .. 1+s+d]  keys to delete
//	KEYS[2+s+d ..]    bases that stay: their expiry becomes that of their heads
//	ARGV[1]  expected token, empty for a shard never committed
//	ARGV[2]  the new state
//	ARGV[3]  s
//	ARGV[4]  d
//	ARGV[5]  expiry in milliseconds; 0: none; -1: none, and the bases that stay
//	         were not sent
//
// It answers 1 when applied, 2 when the bases that stay are needed (some may
// expire, from a time with an expiry), else the token that it found.
//
// Most commits are one MSET, state included: one record in the server's log,
// which no crash can cut in two (see the package's documentation). Else Redis
// wraps the writes in a transaction. It does not undo a script that fails
// half-way, so whatever can fail comes first. A server out of memory, or one
// that cannot save, refuses the first write of a script and none after it: that
// one repeats the old state. DEL, PERSIST and PEXPIRE come before the rows, so
// that a user who may not call them is found out while all is as it was. unpack
// takes less than 8,000 values.
var commitScript = redis.NewScript(`
local found = redis.call('GET', KEYS[1])
local token = found and string.sub(found, 1, 16) or ''
if token ~= ARGV[1] then return token end
local s, d, ttl = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local expires = found and string.byte(found, -1) == 1
if expires and ttl == -1 then return 2 end
local state = ARGV[2] .. ((ttl > 0 or expires) and '\1' or '\0')

local function mset(first, last, more)
  local pairs, n = more, #more
  for i = first, last do
    pairs[n + 1], pairs[n + 2] = KEYS[i], ARGV[i + 4]
    n = n + 2
  end
  redis.call('MSET', unpack(pairs))
end
if ttl <= 0 and #KEYS == 1 + s and s <= 3900 then
  mset(2, 1 + s, {KEYS[1], state})
  return 1
end

if found then redis.call('SET', KEYS[1], found) end
for i = 2 + s + d, #KEYS do
  if ttl > 0 then redis.call('PEXPIRE', KEYS[i], ttl) else redis.call('PERSIST', KEYS[i]) end
end
for i = 2 + s, 1 + s + d, 3900 do
  redis.call('DEL', unpack(KEYS, i, math.min(i + 3899, 1 + s + d)))
end
if ttl > 0 then
  for i = 2, 1 + s do redis.call('SET', KEYS[i], ARGV[i + 4], 'PX', ttl) end
else
  for i = 2, 1 + s, 3900 do mset(i, math.min(i + 3899, 1 + s), {}) end
end
redis.call('SET', KEYS[1], state)
return 1
`)

// Commit applies c whole, or returns *online.Conflict and applies nothing.
func (s *Store) Commit(ctx context.Context, c *online.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, renew := s.expiring.Load(c.Shard)
	answer, err := s.run(ctx, c, renew || s.ttl > 0)
	if err == nil && answer == int64(2) {
		s.expiring.Store(c.Shard, nil)
		answer, err = s.run(ctx, c, true)
	}
	if err != nil {
		return s.fail(fmt.Sprintf("commit to shard %s/%d", c.Shard.Space, c.Shard.Index), err)
	}
	switch answer := answer.(type) {
	case int64:
		if answer == 1 {
			return nil
		}
	case string:
		conflict := &online.Conflict{Shard: c.Shard}
		copy(conflict.Found[:], answer)
		return conflict
	}
	return fmt.Errorf("redis %s: commit to shard %s/%d: the script answered %v", s.address, c.Shard.Space, c.Shard.Index, answer)
}

// run calls the script. With renew the bases that stay are sent along.
func (s *Store) run(ctx context.Context, c *online.Commit, renew bool) (any, error) {
	p := prefix(c.Shard)
	n := 2*len(c.Writes) + 1
	keys, args := make([]string, 1, n), make([]any, 5, n+5)
	keys[0] = p + kindState
	var deletes, keeps []string
	part := func(key string, value []byte) {
		if value == nil {
			deletes = append(deletes, key)
			return
		}
		keys, args = append(keys, key), append(args, value)
	}
	for i := range c.Writes {
		w := &c.Writes[i]
		part(p+kindHead+w.Entity, w.Head)
		if !w.KeepBase {
			part(p+kindBase+w.Entity, w.Base)
		} else if renew {
			keeps = append(keeps, p+kindBase+w.Entity)
		}
	}
	expect, ttl := c.Expect[:], s.ttl
	if c.Expect == (online.Token{}) {
		expect = nil
	}
	if !renew {
		ttl = -1
	}
	state := online.AppendState(nil, &online.State{Token: c.Next, Progress: c.Progress})
	args[0], args[1], args[2], args[3], args[4] = expect, state, len(keys)-1, len(deletes), ttl
	keys = append(append(keys, deletes...), keeps...)
	return commitScript.Run(ctx, s.client, keys, args...).Result()
}

// State returns where a shard stands.
func (s *Store) State(ctx context.Context, shard online.Shard) (online.State, error) {
	if ctx.Err() != nil {
		return online.State{}, context.Cause(ctx)
	}
	v, err := s.client.Get(ctx, prefix(shard)+kindState).Bytes()
	if errors.Is(err, redis.Nil) {
		return online.State{}, nil
	}
	if err != nil {
		return online.State{}, s.fail(fmt.Sprintf("state of shard %s/%d", shard.Space, shard.Index), err)
	}
	return s.decode(shard, v)
}

// decode reads the value of a state key: the state and a byte that says
// whether rows of the shard may expire.
func (s *Store) decode(shard online.Shard, v []byte) (online.State, error) {
	state, err := online.DecodeState(v[:max(len(v)-1, 0)])
	if err != nil {
		return state, fmt.Errorf("redis %s: shard %s/%d: %w", s.address, shard.Space, shard.Index, err)
	}
	return state, nil
}
