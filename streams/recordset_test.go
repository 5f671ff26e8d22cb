package streams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

// batchOf encodes records as a broker would store them, compressed by codec,
// with further attributes, at an offset.
func batchOf(t testing.TB, codec compress.Compression, attributes uint16, offset int64, records ...Record) []byte {
	t.Helper()
	var w batchWriter
	w.reset()
	for i := range records {
		w.add(&records[i], 1000+int64(i))
	}
	b := bytes.Clone(w.finish(7, 0, 0)[rawLen:])
	if codec != 0 {
		var out bytes.Buffer
		z := codec.Codec().NewWriter(&out)
		z.Write(b[headerLen:])
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		b = append(b[:headerLen], out.Bytes()...)
	}
	binary.BigEndian.PutUint64(b, uint64(offset))
	binary.BigEndian.PutUint16(b[21:], attributes|uint16(codec))
	return sign(b)
}

// sign sets the length and the checksum of a batch.
func sign(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// decodeAll decodes an answer as Fetch would, each Batch copied.
func decodeAll(answer []byte, from int64) (out []Record, next int64, err error) {
	r := Reader{next: from}
	r.set.reset(answer)
	for {
		err := r.decode()
		for _, x := range r.records {
			out = append(out, clone(x))
		}
		if err != nil || r.set.left == 0 && len(r.set.rest) == 0 {
			return out, r.next, err
		}
	}
}

// TestDecodeBatchesInTurn mixes codecs and sizes in one answer, so that open
// batches outlive a Batch and the decompression buffers take turns.
func TestDecodeBatchesInTurn(t *testing.T) {
	var answer []byte
	var want []Record
	for i, size := range []int{1, maxRecords - 1, 2*maxRecords + 5, 3, 7, maxRecords, 1, 3 * maxRecords, 2} {
		rs := numbered(len(want), size)
		codec := []compress.Compression{compress.Zstd, compress.None, compress.Lz4, compress.Snappy, compress.Gzip}[i%5]
		answer = append(answer, batchOf(t, codec, 0, int64(len(want)), rs...)...)
		want = append(want, rs...)
	}
	cut := answer[:len(answer)-1] // the last batch, of two records, is cut
	for _, tt := range []struct {
		answer []byte
		from   int
		end    int
	}{{answer, 0, len(want)}, {answer, 5000, len(want)}, {cut, 0, len(want) - 2}} {
		got, next, err := decodeAll(tt.answer, int64(tt.from))
		if err != nil || len(got) != tt.end-tt.from || next != int64(tt.end) {
			t.Fatalf("from %d: %d records, next %d, %v; want %d, %d", tt.from, len(got), next, err, tt.end-tt.from, tt.end)
		}
		for i, r := range got {
			w := want[tt.from+i]
			if r.Offset != int64(tt.from+i) || !bytes.Equal(r.Value, w.Value) || !bytes.Equal(r.Key, w.Key) {
				t.Fatalf("from %d: record %d is %d %q %q, want %q %q", tt.from, i, r.Offset, r.Key, r.Value, w.Key, w.Value)
			}
		}
	}
}

func TestDecodeTimes(t *testing.T) {
	rs := numbered(0, 3)
	for _, tt := range []struct {
		attributes uint16
		want       [3]int64
	}{{0, [3]int64{1000_000, 1001_000, 1002_000}}, {appendTimeBit, [3]int64{1002_000, 1002_000, 1002_000}}} {
		got, _, err := decodeAll(batchOf(t, 0, tt.attributes, 0, rs...), 0)
		if err != nil || len(got) != 3 {
			t.Fatal(len(got), err)
		}
		for i, r := range got {
			if r.Time != tt.want[i] {
				t.Errorf("attributes %#x: time of record %d is %d, want %d", tt.attributes, i, r.Time, tt.want[i])
			}
		}
	}
}

// TestDecodeHoles passes over offsets that compaction has taken, at the end of
// a batch too.
func TestDecodeHoles(t *testing.T) {
	a := batchOf(t, 0, 0, 10, numbered(10, 2)...)
	binary.BigEndian.PutUint32(a[23:], 6) // 12 to 16 are gone
	b := batchOf(t, 0, 0, 40, numbered(40, 1)...)
	binary.BigEndian.PutUint32(b[23:], 9) // 41 to 49 are gone
	got, next, err := decodeAll(append(sign(a), sign(b)...), 5)
	if err != nil || len(got) != 3 || got[2].Offset != 40 || next != 50 {
		t.Errorf("%d records, next %d, %v; want 3, 50", len(got), next, err)
	}
}

// TestDecodeBroken returns what comes before a broken batch, and no more.
func TestDecodeBroken(t *testing.T) {
	good := batchOf(t, 0, 0, 0, numbered(0, 2)...)
	bad := func(codec compress.Compression, change func(b []byte) []byte) []byte {
		return change(batchOf(t, codec, 0, 2, numbered(2, 2)...))
	}
	for _, tt := range []struct {
		name string
		last []byte
		want string
	}{
		{"flipped bit", bad(0, func(b []byte) []byte { b[70] ^= 1; return b }), "checksum"},
		{"old format", bad(0, func(b []byte) []byte { b[16] = 1; return b }), "format 1"},
		{"negative length", bad(0, func(b []byte) []byte { binary.BigEndian.PutUint32(b[8:], 1<<31); return b }), "length"},
		{"short", sign(append(bytes.Clone(good[:30]), 0)), "31 bytes"},
		{"not compressed", bad(compress.Zstd, func(b []byte) []byte { return sign(append(b[:headerLen], "nonsense"...)) }), "decompress"},
		{"unknown codec", bad(0, func(b []byte) []byte { b[22] |= 7; return sign(b) }), "codec 7"},
		{"too many records", bad(0, func(b []byte) []byte { binary.BigEndian.PutUint32(b[57:], 3); return sign(b) }), "cut or malformed"},
		{"negative count", bad(0, func(b []byte) []byte { binary.BigEndian.PutUint32(b[57:], 1<<31); return sign(b) }), "negative"},
	} {
		got, next, err := decodeAll(append(bytes.Clone(good), tt.last...), 0)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.name, err, tt.want)
		}
		if len(got) < 2 || next != got[len(got)-1].Offset+1 {
			t.Errorf("%s: %d records, next %d", tt.name, len(got), next)
		}
	}
	if err := whole(good[:20]); err == nil {
		t.Error("an answer without a whole batch is taken")
	}
}

// FuzzDecode feeds arbitrary batches, correctly signed so that the decoder
// gets past the checksum: it must not crash, run away or step back.
func FuzzDecode(f *testing.F) {
	header := Record{Value: []byte("v"), Headers: []Header{{"a", []byte("b")}}}
	for _, codec := range []compress.Compression{0, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		f.Add(batchOf(f, codec, 0, 100, append(numbered(0, 3), header)...), int64(101))
	}
	f.Fuzz(func(t *testing.T, b []byte, from int64) {
		if from < 0 || from > 1<<60 {
			return
		}
		if len(b) >= headerLen {
			b[16] = 2
			sign(b)
		}
		r := Reader{next: from}
		r.set.reset(b)
		err := r.decode()
		last := from - 1
		for _, x := range r.records {
			if x.Offset <= last {
				t.Fatalf("offset %d after %d", x.Offset, last)
			}
			last = x.Offset
		}
		if r.next <= last {
			t.Fatalf("next %d after offset %d (%v)", r.next, last, err)
		}
	})
}

// FuzzAnswer feeds arbitrary fetch answers.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 32)))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Reader
		if r.parse(body) == nil {
			r.decode()
		}
	})
}

// TestReaderGivesUpOnBrokenLog serves the same broken bytes each time.
func TestReaderGivesUpOnBrokenLog(t *testing.T) {
	r := Reader{topic: "t"}
	var err error
	for range maxStrikes {
		r.set.reset(sign(make([]byte, headerLen-1)))
		_, err = r.step(t.Context())
		if err == nil {
			t.Fatal("a broken log is read")
		}
		if err = r.judge(t.Context(), err, new(time.Time)); err != nil {
			break
		}
	}
	var broken *brokenError
	if !errors.As(err, &broken) {
		t.Errorf("after %d tries: %v, want that the log is unreadable", maxStrikes, err)
	}
}
