package streams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/segmentio/kafka-go/compress"
)

// Record batches of format 2, the only one since Kafka 0.11, are read and
// written here. kafka-go's own paths cost two to five times the CPU, allocate
// for each record, check no sum, return the records of aborted transactions,
// and one of them repeats records.
//
//	 0 first offset    8      23 last offset delta  4
//	 8 length from 12  4      27 first timestamp    8
//	12 leader epoch    4      35 max timestamp      8
//	16 format          1      43 producer id        8
//	17 CRC-32C from 21 4      51 producer epoch     2
//	21 attributes      2      53 first sequence     4
//	                          57 number of records  4
//	61 records, compressed as attributes say
const headerLen = 61

// The attributes of a batch.
const (
	codecMask     = 0x07
	appendTimeBit = 0x08
	transactional = 0x10
	controlBit    = 0x20
)

// maxInflated limits what one compressed batch may grow to, and maxHeld what
// several may before a Batch ends, in bytes.
const (
	maxInflated = 128 << 20
	maxHeld     = 8 << 20
)

// maxHeaders limits the headers of one record.
const maxHeaders = 1000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A recordSet walks over the batches of a fetch answer. Records alias its
// buffers.
type recordSet struct {
	rest    []byte  // whole batches that are not opened yet
	aborted []abort // transactions that were aborted, by first offset

	// The open batch.
	records    []byte // its records that are not read yet
	left       int    // their number
	base       int64  // its first offset
	end        int64  // the offset after its last
	time       int64  // its first timestamp in ms, or that of all
	appendTime bool

	// Decompressed batches lie one after the other in one of two buffers. The
	// open one may outlive a Batch; then the next ones go to the other buffer.
	inflated [2][]byte
	use      int // the buffer in use
	openIn   int // that of the open batch; -1: it is in the answer itself

	source   bytes.Reader
	headers  []Header           // reused; the arena of the records' headers
	names    map[string]string  // header keys seen, at most maxNames
	dropping map[int64]struct{} // producers in an aborted transaction
}

// An abort is a transaction of which nothing counts: the records of a producer
// from an offset to its next control record.
type abort struct{ producer, first int64 }

const maxNames = 256

// beginBatch lets go of what the last Batch referred to.
func (s *recordSet) beginBatch() {
	s.headers = s.headers[:0]
	if s.left > 0 && s.openIn == s.use {
		s.use = 1 - s.use
	}
	s.inflated[s.use] = s.inflated[s.use][:0]
}

// full says that a Batch refers to enough memory, however few its records.
func (s *recordSet) full() bool { return len(s.inflated[s.use]) > maxHeld }

// reset begins with another answer.
func (s *recordSet) reset(batches []byte) {
	s.rest, s.records, s.left = batches, nil, 0
	clear(s.dropping)
}

// open opens the next batch that holds records for us. It returns io.EOF after
// the last, and sets end, also of what it passed over.
func (s *recordSet) open() error {
	for {
		if len(s.rest) < 12 {
			return io.EOF
		}
		n := 12 + int(int32(binary.BigEndian.Uint32(s.rest[8:])))
		if n < 17 {
			return fmt.Errorf("a batch with a length of %d", n-12)
		}
		if n > len(s.rest) {
			return io.EOF // cut by the broker at the end of its answer
		}
		b := s.rest[:n]
		if b[16] != 2 {
			return fmt.Errorf("record format %d; only format 2, of Kafka 0.11 and newer, is read", b[16])
		}
		if n < headerLen {
			return fmt.Errorf("a batch of %d bytes", n)
		}
		if sum := crc32.Checksum(b[21:], castagnoli); sum != binary.BigEndian.Uint32(b[17:]) {
			return fmt.Errorf("a batch whose checksum is %08x, not %08x", sum, binary.BigEndian.Uint32(b[17:]))
		}
		s.rest = s.rest[n:]
		s.base = int64(binary.BigEndian.Uint64(b))
		s.end = s.base + int64(int32(binary.BigEndian.Uint32(b[23:]))) + 1
		if s.counts(b) {
			return s.load(b)
		}
	}
}

// counts says whether a batch holds records to be read: not the marks that end
// transactions, and nothing of an aborted one.
func (s *recordSet) counts(b []byte) bool {
	attributes := binary.BigEndian.Uint16(b[21:])
	producer := int64(binary.BigEndian.Uint64(b[43:]))
	for len(s.aborted) > 0 && s.aborted[0].first < s.end {
		if s.dropping == nil {
			s.dropping = make(map[int64]struct{})
		}
		s.dropping[s.aborted[0].producer] = struct{}{}
		s.aborted = s.aborted[1:]
	}
	if attributes&controlBit != 0 {
		delete(s.dropping, producer)
		return false
	}
	_, dropped := s.dropping[producer]
	return !dropped || attributes&transactional == 0
}

func (s *recordSet) load(b []byte) error {
	attributes := binary.BigEndian.Uint16(b[21:])
	s.left = int(int32(binary.BigEndian.Uint32(b[57:])))
	s.time = int64(binary.BigEndian.Uint64(b[27:]))
	if s.appendTime = attributes&appendTimeBit != 0; s.appendTime {
		s.time = int64(binary.BigEndian.Uint64(b[35:]))
	}
	s.records, s.openIn = b[headerLen:], -1
	if s.left < 0 {
		s.left = 0
		return errors.New("a batch with a negative number of records")
	}
	if c := compress.Compression(attributes & codecMask); c != 0 {
		if err := s.inflate(c); err != nil {
			s.left = 0
			return fmt.Errorf("a batch that does not decompress: %w", err)
		}
	}
	return nil
}

func (s *recordSet) inflate(c compress.Compression) error {
	codec := c.Codec()
	if codec == nil {
		return fmt.Errorf("unknown codec %d", c)
	}
	s.source.Reset(s.records)
	r := codec.NewReader(&s.source)
	defer r.Close()
	out := s.inflated[s.use]
	from := len(out)
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, max(64<<10, len(out)))
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if len(out)-from > maxInflated {
			return fmt.Errorf("it is over %d bytes", maxInflated)
		}
		if err == io.EOF {
			s.inflated[s.use], s.openIn = out, s.use
			s.records = out[from:]
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errRecord = errors.New("a record that is cut or malformed")

// next reads the open batch's next record; left must be above 0.
func (s *recordSet) next(r *Record) error {
	length, b, ok := varint(s.records)
	if !ok || length < 1 || length > int64(len(b)) {
		return errRecord
	}
	s.records, b = b[length:], b[1:length] // without the unused attributes
	s.left--
	var delta, offset, headers int64
	if delta, b, ok = varint(b); !ok {
		return errRecord
	}
	if offset, b, ok = varint(b); !ok || offset < 0 || offset > math.MaxInt32 {
		return errRecord
	}
	if r.Key, b, ok = varbytes(b); !ok {
		return errRecord
	}
	if r.Value, b, ok = varbytes(b); !ok {
		return errRecord
	}
	if headers, b, ok = varint(b); !ok || headers < 0 {
		return errRecord
	}
	r.Offset = s.base + offset
	if s.appendTime {
		delta = 0
	}
	r.Time = micros(s.time + delta)
	r.Headers = nil
	if headers > 0 {
		return s.readHeaders(r, b, headers)
	}
	return nil
}

func (s *recordSet) readHeaders(r *Record, b []byte, n int64) error {
	if n > maxHeaders {
		return fmt.Errorf("a record with %d headers; at most %d are read", n, maxHeaders)
	}
	from := len(s.headers)
	for range n {
		var key, value []byte
		var ok bool
		if key, b, ok = varbytes(b); !ok {
			return errRecord
		}
		if value, b, ok = varbytes(b); !ok {
			return errRecord
		}
		s.headers = append(s.headers, Header{Key: s.name(key), Value: value})
	}
	r.Headers = s.headers[from:len(s.headers):len(s.headers)]
	return nil
}

// name returns a header's key as a string; those seen before cost nothing.
func (s *recordSet) name(key []byte) string {
	if n, ok := s.names[string(key)]; ok {
		return n
	}
	n := string(key)
	if s.names == nil {
		s.names = make(map[string]string)
	}
	if len(s.names) < maxNames {
		s.names[n] = n
	}
	return n
}

// micros turns Kafka's milliseconds into microseconds. Absurd ones stay at the
// end of the range.
func micros(ms int64) int64 {
	const most = math.MaxInt64 / 1000
	return max(-most, min(ms, most)) * 1000
}

func varint(b []byte) (int64, []byte, bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), b[1:], true
	}
	if len(b) > 1 && b[1] < 0x80 {
		u := uint64(b[0]&0x7f) | uint64(b[1])<<7
		return int64(u>>1) ^ -int64(u&1), b[2:], true
	}
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// varbytes reads bytes after their length; a length of -1 means nil.
func varbytes(b []byte) (v, rest []byte, ok bool) {
	n, b, ok := varint(b)
	if !ok || n > int64(len(b)) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}
