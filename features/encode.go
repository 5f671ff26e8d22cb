package features

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/millrace/millrace/features/expr"
)

// rowVersion is the first byte of a head and of a base. See FORMAT.md.
const rowVersion = 1

// AppendHead appends the row's head: its newest time, open tiles and recent
// entries.
func (p *Plan) AppendHead(dst []byte, r *Row) []byte {
	dst = append(dst, rowVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.newest))
	w := rowWriter{row: r}
	for i := range p.levels {
		l := &p.levels[i]
		switch {
		case !l.hasTile():
			dst = w.list(dst, l, r.lists[l.list+1].words())
		case r.head[l.head] == noTile:
			dst = append(dst, 0)
		default:
			dst = w.list(dst, l, r.head[l.head:l.head+l.width])
		}
	}
	return w.strings(dst)
}

// AppendBase appends the row's base: closed tiles and older entries. It
// appends nothing where there are none.
func (p *Plan) AppendBase(dst []byte, r *Row) []byte {
	some := false
	for i := range p.levels {
		some = some || len(r.lists[p.levels[i].list].words()) > 0
	}
	if !some {
		return dst
	}
	dst = append(dst, rowVersion)
	w := rowWriter{row: r}
	for i := range p.levels {
		l := &p.levels[i]
		dst = w.list(dst, l, r.lists[l.list].words())
	}
	return w.strings(dst)
}

// A rowWriter numbers a part's strings by first use, so that equal rows give
// equal bytes whatever their words point to in memory.
type rowWriter struct {
	row    *Row
	places []uint64
}

func (w *rowWriter) list(dst []byte, l *level, words []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(words)/l.width))
	if !l.strings {
		for _, x := range words {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
		return dst
	}
	for ; len(words) > 0; words = words[l.width:] {
		start := len(dst)
		for _, x := range words[:l.width] {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
		l.stringWords(words, func(at int) {
			binary.LittleEndian.PutUint64(dst[start+8*at:], uint64(len(w.places)))
			w.places = append(w.places, words[at])
		})
	}
	return dst
}

func (w *rowWriter) strings(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(w.places)))
	for _, at := range w.places {
		s := w.row.strings[at]
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

// stringWords calls f with the place of each word of a tile or entry that
// points to a string.
func (l *level) stringWords(tile []uint64, f func(at int)) {
	for i := range l.groups {
		g := &l.groups[i]
		switch {
		case g.kind != expr.String:
		case l.kind == values:
			if tile[2]>>i&1 == 1 {
				f(entryKey + i)
			}
		case tile[g.n] > 0:
			if g.first != 0 {
				f(g.first + 2)
			}
			if g.last != 0 {
				f(g.last + 2)
			}
		}
	}
}

// DecodeRow reads a row that AppendHead and AppendBase wrote under the same
// plan. Both parts empty: a new row.
func (p *Plan) DecodeRow(head, base []byte) (*Row, error) {
	r := p.NewRow()
	if len(head) == 0 && len(base) == 0 {
		return r, nil
	}
	d := rowReader{buf: head, row: r}
	d.version()
	r.newest = int64(d.word())
	for i := range p.levels {
		l := &p.levels[i]
		if !l.hasTile() {
			d.list(l, &r.lists[l.list+1])
			continue
		}
		switch n := d.tiles(l); n {
		case 0:
		case 1:
			d.words(l, r.head[l.head:l.head+l.width])
		default:
			d.fail("%d open tiles of one length", n)
		}
	}
	d.strings()
	if d.err != nil {
		return nil, fmt.Errorf("features: row head of view %q is damaged: %w", p.View.Name, d.err)
	}
	if len(base) > 0 {
		if err := p.decodeBase(r, base); err != nil {
			return nil, err
		}
	}
	for i := range p.levels {
		p.setDue(r, &p.levels[i])
	}
	return r, nil
}

func (p *Plan) decodeBase(r *Row, base []byte) error {
	d := rowReader{buf: base, row: r}
	d.version()
	for i := range p.levels {
		d.list(&p.levels[i], &r.lists[p.levels[i].list])
	}
	d.strings()
	if d.err != nil {
		return fmt.Errorf("features: row base of view %q is damaged: %w", p.View.Name, d.err)
	}
	return nil
}

// A rowReader reads one part. After its first error it reads nothing more.
type rowReader struct {
	buf   []byte
	row   *Row
	fixes []*uint64 // words that point to the part's strings
	err   error
}

func (d *rowReader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

var errShort = errors.New("it ends too early")

func (d *rowReader) version() {
	if len(d.buf) == 0 {
		d.err = errShort
		return
	}
	if d.buf[0] != rowVersion {
		d.fail("format version %d; this program reads %d", d.buf[0], rowVersion)
	}
	d.buf = d.buf[1:]
}

func (d *rowReader) word() uint64 {
	if d.err != nil || len(d.buf) < 8 {
		d.fail("%w", errShort)
		return 0
	}
	x := binary.LittleEndian.Uint64(d.buf)
	d.buf = d.buf[8:]
	return x
}

func (d *rowReader) count() uint64 {
	n, size := binary.Uvarint(d.buf)
	if d.err != nil || size <= 0 {
		d.fail("%w", errShort)
		return 0
	}
	d.buf = d.buf[size:]
	return n
}

// tiles reads how many tiles or entries follow.
func (d *rowReader) tiles(l *level) int {
	n := d.count()
	if n > uint64(len(d.buf)/8/l.width) {
		d.fail("%d tiles of %d bytes do not fit in %d", n, 8*l.width, len(d.buf))
		return 0
	}
	return int(n)
}

func (d *rowReader) list(l *level, to *list) {
	to.buf = make([]uint64, d.tiles(l)*l.width)
	d.words(l, to.buf)
}

// words reads whole tiles or entries and notes which words point to strings.
func (d *rowReader) words(l *level, to []uint64) {
	for i := range to {
		to[i] = d.word()
	}
	for at := 0; at < len(to); at += l.width {
		if at > 0 && int64(to[at]) < int64(to[at-l.width]) {
			d.fail("tiles are out of order")
			return
		}
		l.stringWords(to[at:], func(word int) { d.fixes = append(d.fixes, &to[at+word]) })
	}
}

// strings reads the part's strings and points the words that were read to
// them, in the order of reading.
func (d *rowReader) strings() {
	n := d.count()
	if n > uint64(len(d.buf)) {
		d.fail("%d strings do not fit in %d bytes", n, len(d.buf))
		return
	}
	if uint64(len(d.fixes)) != n && d.err == nil {
		d.fail("%d strings for %d words", n, len(d.fixes))
		return
	}
	for i := range n {
		size := d.count()
		if d.err != nil || size > uint64(len(d.buf)) {
			d.fail("%w", errShort)
			return
		}
		if *d.fixes[i] != i {
			d.fail("string %d has number %d", i, *d.fixes[i])
			return
		}
		*d.fixes[i] = d.row.keep(string(d.buf[:size]))
		d.buf = d.buf[size:]
	}
	if len(d.buf) > 0 {
		d.fail("%d bytes too many", len(d.buf))
	}
}
