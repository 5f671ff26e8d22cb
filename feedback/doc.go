// What meets, and what becomes of it. L is horizon + grace, and the clock is the
// newest tick.
//
//	join           an outcome dt after the prediction          the label is, of those that count, that of the
//	prediction_id  counts in 0 <= dt <= horizon; is invalid    greatest (time, id)
//	               before, and late after
//	next_event     counts in 0 < dt <= horizon                 least time, then the greatest id
//	at             counts at dt = 0                            greatest id
//
// Elsewhere the two do not meet. Only records of one model and key meet.
//
// A prediction is open until clock > time + L and remembered, without its
// vector, until clock > time + 2L. Outcomes that count and come while it is open
// make examples and corrections; those that come later are late. Why it is
// unanswered is what it had met when it closed.
//
// An outcome can meet predictions that come after it until clock > time + L.
// One that has met none waits until then, and is an orphan from then on. It is
// remembered, so that its copies are duplicates, until clock > time + 2L.
//
// Each example has a number that goes up with the offset of the record that it
// is made at, also where the log is taken again by an empty store: see Shard.At.
//
// A prediction that comes when clock > time + 2L is rejected: if it was there,
// that is forgotten, and no outcome can count for it. Any other record may come
// after its times: it meets what is there, and then closes, or is forgotten, at
// once.

package feedback
