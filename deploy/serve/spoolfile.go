package serve

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/millrace/millrace/streams"
)

// A segment is a file of frames, in the order in which they were added:
//
//	4 bytes  n, the length of what follows the checksum, little-endian; not 0, which no frame has
//	4 bytes  CRC-32C of these n bytes, little-endian
//	uvarint  length of the record's key
//	         the key
//	         the value, up to the end of the n bytes
//
// It ends with the first frame that is cut off or does not have its checksum:
// only the last frames can be so, which nobody was told are kept. Its name is
// its number, in 20 digits.

const (
	frameHeader   = 8
	segmentSuffix = ".spool"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a record as a frame.
func appendFrame(dst []byte, r *streams.Record) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
	dst = append(append(dst, r.Key...), r.Value...)
	body := dst[from+frameHeader:]
	binary.LittleEndian.PutUint32(dst[from:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[from+4:], crc32.Checksum(body, castagnoli))
	return dst
}

// parseSegment returns the records of a segment, which share data's memory, and
// the length of their frames.
func parseSegment(data []byte) (records []streams.Record, good int) {
	for len(data)-good >= frameHeader {
		n := int(binary.LittleEndian.Uint32(data[good:]))
		rest := data[good+frameHeader:]
		if n > len(rest) || crc32.Checksum(rest[:n], castagnoli) != binary.LittleEndian.Uint32(data[good+4:]) {
			break
		}
		body := rest[:n:n]
		size, head := binary.Uvarint(body)
		if head <= 0 || size > uint64(n-head) {
			break
		}
		end := head + int(size)
		records = append(records, streams.Record{Key: body[head:end:end], Value: body[end:], Partition: -1})
		good += frameHeader + n
	}
	return records, good
}
