package streams

import "encoding/binary"

// A Header is one key and value beside a record.
type Header struct {
	Key   string
	Value []byte
}

// A Record is one entry of a topic's partition.
//
// A Reader fills all fields; Key is nil where the record has none, and Value
// is nil in a tombstone. A Producer reads Key, Value, Headers, Time and
// Partition.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Partition  int   // to a Producer, -1 means: by the key
	Offset     int64 // not read by a Producer
	Time       int64 // the record's timestamp, microseconds since the Unix epoch; Kafka keeps milliseconds
}

// A Position is the place of a record in the log.
type Position struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

// PartitionOf returns the partition to which Kafka's Java clients send a key:
// (murmur2(key) & 0x7fffffff) mod partitions. It does not allocate.
func PartitionOf(key []byte, partitions int) int {
	return int(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is the 32-bit MurmurHash2 by Austin Appleby with the seed of
// org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
