package online

// A Progress says how far through its log a shard is. All of it is a function
// of the log's prefix.
type Progress struct {
	Cluster  string  // Kafka's cluster id
	Topic    string  // the topic that is applied
	Next     int64   // offset of the next record
	Checksum uint32  // CRC-32C of the last applied record's key and value
	Newest   int64   // newest event time, microseconds since the Unix epoch; math.MinInt64 before the first event
	Origins  []int64 // re-keyed topics: by source partition, the last origin offset applied; -1: none
	Counts   Counts
}

// Counts are totals since the log's beginning.
type Counts struct {
	Applied    int64 // events folded into a row
	Dropped    int64 // events that where dropped
	Duplicates int64 // events whose id was already there
	Dead       int64 // records that went to the dead letters
	Truncated  int64 // values that left an exact window early, by max_values
	Nonfinite  int64 // expression results that were not finite
}
