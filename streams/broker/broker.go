// Package broker runs a Kafka broker inside the process, for trying out and
// for tests. It speaks Kafka's protocol on the loopback interface only, so
// that clients need nothing but another address to use a real cluster.
//
// What it keeps in its directory survives the end of the process, kill -9
// included: each record is written to the file before it is acknowledged. It
// is not forced to the disk (no fsync per message, as Kafka itself does by
// default), so that a power failure can take the last records. One goroutine
// serves all requests. Opening a directory reads its whole log, and the memory
// that this takes grows with the log: bound it by retention.bytes where a
// topic is written for long.
package broker

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// upkeepEvery is how often retention and compaction run. The broker's own
// timer for them does not come back when a directory is opened again.
const upkeepEvery = 30 * time.Second

// Options say where a broker keeps its data and where it listens.
type Options struct {
	Dir  string       // the directory of the log, made if absent; empty: memory, lost at Close
	Port int          // on 127.0.0.1; 0: any free one
	Log  *slog.Logger // nil: slog.Default
}

// A Broker is a running broker. Its methods may be called concurrently.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	dir     string                           // empty: memory
	free    func(dir string) (uint64, error) // bytes that dir's disk has left
	lock    *os.File                         // nil in memory
	stop    chan struct{}
	done    sync.WaitGroup
	close   sync.Once
}

// Start opens the directory and listens. It fails when another process holds
// the directory, naming it and the process, and when the port is taken.
func Start(o Options) (*Broker, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	b := &Broker{dir: o.Dir, free: freeSpace, stop: make(chan struct{})}
	if o.Dir != "" {
		lock, err := lockDir(o.Dir)
		if err != nil {
			return nil, err
		}
		b.lock = lock
	}
	var err error
	if b.cluster, err = kfake.NewCluster(clusterOptions(o)...); err != nil {
		return nil, errors.Join(startError(o, err), b.unlock())
	}
	if o.Dir != "" {
		b.guardDisk(o.Log)
	}
	b.addr = b.cluster.ListenAddrs()[0]
	b.done.Go(b.upkeep)
	where := o.Dir
	if where == "" {
		where = "memory"
	}
	o.Log.Info("embedded broker started; it is for trying out and tests", "address", b.addr, "data", where)
	return b, nil
}

// Addr returns the broker's address as host:port.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker, writes what it holds to the directory and releases
// it. It returns after that is done.
func (b *Broker) Close() error {
	var err error
	b.close.Do(func() {
		close(b.stop)
		b.done.Wait()
		b.cluster.Close()
		err = b.unlock()
	})
	return err
}

// upkeep applies retention and compacts. Compact does both, and for topics
// that ask for neither it does nothing.
func (b *Broker) upkeep() {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.cluster.Compact()
		case <-b.stop:
			return
		}
	}
}

func clusterOptions(o Options) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(o.Port),
		kfake.WithLogger(logger{o.Log}),
		// The directory remembers the id that it was first opened with.
		// Progress is bound to it, so two directories must not share one.
		kfake.ClusterID(newID()),
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	return opts
}

// newID returns a cluster id as Kafka makes them: 16 random bytes in base64.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func startError(o Options, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("broker: port %d of 127.0.0.1 is taken; choose another one (Port), or stop what listens there: %w", o.Port, err)
	}
	if o.Dir != "" {
		return fmt.Errorf("broker: start on directory %s: %w", o.Dir, err)
	}
	return fmt.Errorf("broker: start: %w", err)
}

// lockDir makes the directory and takes its lock, which the system releases
// when the process ends, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("broker: make directory %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("broker: open lock of directory %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("broker: lock directory %s: %w", dir, err)
		}
		return nil, fmt.Errorf("broker: directory %s is in use by %s; stop it or use another directory", dir, holder(f))
	}
	if err := errors.Join(f.Truncate(0), writePid(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("broker: write lock of directory %s: %w", dir, err)
	}
	return f, nil
}

func writePid(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

func holder(f *os.File) string {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return "process " + pid
	}
	return "another process"
}

func (b *Broker) unlock() error {
	if b.lock == nil {
		return nil
	}
	// The file stays: removing it would let a second process lock a new file
	// while a third still waits on the old one.
	return b.lock.Close()
}

// logger passes the broker's warnings on. Its lower levels repeat each request.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded broker: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker: " + fmt.Sprintf(format, args...))
	}
}
