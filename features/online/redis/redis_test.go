package redis

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

// snapshotPlace is a server that keeps what it last saved.
type snapshotPlace struct {
	server *onlinetest.Redis
	ttl    time.Duration
	store  *Store
}

func (p *snapshotPlace) Open(t *testing.T) online.Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Addresses: []string{p.server.Addr}, TTL: p.ttl})
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	return s
}

func (p *snapshotPlace) Save(t *testing.T) {
	t.Helper()
	if err := p.store.client.Do(context.Background(), "SAVE").Err(); err != nil {
		t.Fatal(err)
	}
}

func (p *snapshotPlace) Crash(t *testing.T) {
	t.Helper()
	p.server.Kill()
	p.server.Start(t)
}

var _ redis.UniversalClient

func TestSnapshots(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		return &snapshotPlace{server: onlinetest.StartRedis(t)}
	})
}
