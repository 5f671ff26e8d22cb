package streams

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A batchWriter builds one batch of records. Before the batch it leaves room
// for the length that kafka-go's raw record sets begin with.
type batchWriter struct {
	buf         []byte
	count       int
	first, last int64 // the first and the greatest timestamp, ms
}

const rawLen = 4

func (w *batchWriter) reset() {
	if w.buf == nil {
		w.buf = make([]byte, rawLen+headerLen, 64<<10)
	}
	w.buf, w.count = w.buf[:rawLen+headerLen], 0
}

// size returns the number of bytes that the topic's limit counts.
func (w *batchWriter) size() int { return len(w.buf) - rawLen }

// add appends a record with a timestamp in milliseconds.
func (w *batchWriter) add(r *Record, ms int64) {
	if w.count == 0 {
		w.first, w.last = ms, ms
	}
	w.last = max(w.last, ms)
	delta, offset := ms-w.first, int64(w.count)
	b := binary.AppendVarint(w.buf, int64(recordLen(r, delta, offset)))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, offset)
	b = appendBytes(b, r.Key)
	b = appendBytes(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for _, h := range r.Headers {
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendBytes(b, h.Value)
	}
	w.buf = b
	w.count++
}

// finish writes the header and returns the batch as kafka-go's raw record set.
func (w *batchWriter) finish(producer int64, epoch int16, sequence int32) []byte {
	binary.BigEndian.PutUint32(w.buf, uint32(w.size()))
	h := w.buf[rawLen:]
	clear(h[:headerLen])
	binary.BigEndian.PutUint32(h[8:], uint32(w.size()-12))
	binary.BigEndian.PutUint32(h[12:], math.MaxUint32) // the broker fills it
	h[16] = 2
	binary.BigEndian.PutUint32(h[23:], uint32(w.count-1))
	binary.BigEndian.PutUint64(h[27:], uint64(w.first))
	binary.BigEndian.PutUint64(h[35:], uint64(w.last))
	binary.BigEndian.PutUint64(h[43:], uint64(producer))
	binary.BigEndian.PutUint16(h[51:], uint16(epoch))
	binary.BigEndian.PutUint32(h[53:], uint32(sequence))
	binary.BigEndian.PutUint32(h[57:], uint32(w.count))
	binary.BigEndian.PutUint32(h[17:], crc32.Checksum(h[21:], castagnoli))
	return w.buf
}

func recordLen(r *Record, delta, offset int64) int {
	n := 1 + varLen(delta) + varLen(offset) + bytesLen(r.Key) + bytesLen(r.Value) + varLen(int64(len(r.Headers)))
	for _, h := range r.Headers {
		n += varLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

func varLen(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varLen(int64(len(b))) + len(b)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}
