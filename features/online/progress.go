package online

import "github.com/millrace/millrace/features"

// A Progress says how far through its log a shard is. All of it is a function
// of the log's prefix.
type Progress struct {
	Cluster  string  // Kafka's cluster id
	Topic    string  // the topic that is applied
	Next     int64   // offset of the next record
	Checksum uint32  // CRC-32C of the last applied record's key and value
	Newest   int64   // newest event time, microseconds since the Unix epoch; math.MinInt64 before the first event
	Origins  []int64 // re-keyed topics: by source partition, the last origin offset applied; -1: none
	Counts   features.Counts
}
