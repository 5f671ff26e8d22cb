// The path of an event through this package:
//
//	Compile(clock, source, view) -> Plan      checked once, immutable
//	Plan.NewShard                             one partition's time and counts
//	Shard.Admit(event)                        late, future, where, derive, entity
//	Shard.Fold(row, event)                    into the row's tiles, in log order
//	Plan.AppendHead, AppendBase, DecodeRow    the row as bytes (FORMAT.md)
//	Plan.Vector(row, asOf)                    what a model sees
//
// A row is a function of its shard's log prefix and of nothing else: the same
// records in the same order give the same bytes, however they were cut into
// batches, and whatever was stopped and started in between.

package features
