package serve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", number, segmentSuffix))
}

// listSegments returns the numbers of the segments in a directory, in order.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), segmentSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ours && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
