package broker

import (
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reserve is the free space, in bytes, below which no record is taken. The
// broker acknowledges what it could not write, so a full disk must never get
// that far; a request brings a few megabytes at most.
const reserve = 128 << 20

// guardDisk refuses records while the disk of dir is nearly full. Producers see
// Kafka's storage error and try again; reading goes on.
func guardDisk(c *kfake.Cluster, dir string, free func(dir string) (uint64, error), log *slog.Logger) {
	var said atomic.Int64 // when the log last heard of it, Unix seconds
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		left, err := free(dir)
		if err != nil || left >= reserve {
			return nil, nil, false
		}
		if now := time.Now().Unix(); now-said.Swap(now) >= 10 {
			log.Error("the disk is full; the embedded broker takes no records until there is space", "dir", dir, "free_mib", left>>20, "needed_mib", reserve>>20)
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
