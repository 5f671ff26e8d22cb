package pebble

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

// memoryPlace is a disk in memory that forgets in a crash what was not synced,
// but for a random part of it.
type memoryPlace struct {
	disk   *vfs.MemFS
	random *rand.Rand
	store  *Store
}

func (p *memoryPlace) Open(t *testing.T) online.Store {
	t.Helper()
	s, err := open("store", p.disk)
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	return s
}

func (p *memoryPlace) Save(t *testing.T) {
	t.Helper()
	if err := p.store.db.LogData(nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

func (p *memoryPlace) Crash(t *testing.T) {
	t.Helper()
	after := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.random.IntN(101), RNG: p.random})
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	p.disk = after
}

func TestCrashes(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		return &memoryPlace{disk: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(1, 2))}
	})
}
