package broker

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reserve is the free space, in bytes, below which no record is taken. The
// broker acknowledges what it could not write, so a full disk must never get
// that far; a request brings a few megabytes at most.
const reserve = 128 << 20

// Err says why the broker takes no records, and what to do: its disk is nearly
// full. It looks at the disk at each call.
func (b *Broker) Err() error {
	if b.dir == "" {
		return nil
	}
	left, err := b.free(b.dir)
	if err != nil || left >= reserve {
		return nil
	}
	return fmt.Errorf("broker: the disk of %s has %d MiB left, and records are taken from %d MiB on; make space", b.dir, left>>20, reserve>>20)
}

// guardDisk refuses records while the disk is nearly full. Producers see
// Kafka's storage error and try again; reading goes on.
func (b *Broker) guardDisk(log *slog.Logger) {
	var said atomic.Int64 // when the log last heard of it, Unix seconds
	b.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		full := b.Err()
		if full == nil {
			return nil, nil, false
		}
		if now := time.Now().Unix(); now-said.Swap(now) >= 10 {
			log.Error("the embedded broker takes no records", "error", full)
		}
		return refuse(req.(*kmsg.ProduceRequest)), nil, true
	})
}

func refuse(req *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, kerr.KafkaStorageError.Code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// freeSpace returns the bytes that dir's disk has left for us.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return s.Bavail * uint64(s.Bsize), err
}
