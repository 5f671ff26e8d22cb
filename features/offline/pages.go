package offline

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/features"
)

// folder is where the pages lie until they are put together.
func (p *Pieces) folder() string { return p.Files.Out + ".parts" }

func (p *Pieces) page(n int64) string { return filepath.Join(p.folder(), fmt.Sprintf("%08d", n)) }

// WritePage writes a page of the dataset, of which there have to be all lines. It
// may be called again, at the same time too: the file is there whole or not at all.
func (p *Pieces) WritePage(page int64, blocks [][]byte) error {
	type line struct {
		place uint64
		text  []byte
	}
	var lines []line
	for _, b := range blocks {
		for r := (wireReader{b: b}); len(r.b) > 0; {
			l := line{place: r.uvarint()}
			if l.text = r.take(r.uvarint()); r.bad {
				return errCut
			}
			lines = append(lines, l)
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.place, b.place) })
	first := page * p.PageProbes
	if want := min(p.PageProbes, p.Probes-first); int64(len(lines)) != want {
		return fmt.Errorf("offline: page %d of %s has %d lines, want %d: the probes have changed, or the runner loses what it is given", page, p.Files.Out, len(lines), want)
	}
	if err := os.MkdirAll(p.folder(), 0o755); err != nil {
		return fmt.Errorf("offline: %w", err)
	}
	return writeWhole(p.page(page), func(out *bufio.Writer) error {
		for i, l := range lines {
			if l.place != uint64(first)+uint64(i) {
				return errCut
			}
			if _, err := out.Write(l.text); err != nil {
				return err
			}
		}
		return nil
	})
}

// Finish puts the pages together. The dataset is written whole or not at all;
// then the pages are removed.
func (p *Pieces) Finish(ctx context.Context, plan *features.Plan) error {
	format, err := textFormat(p.Files.Probes)
	if err != nil {
		return err
	}
	header := newWriter(p.Files.Out, plan, &probeFile{json: format == "json", columns: p.Columns}).header()
	err = writeWhole(p.Files.Out, func(out *bufio.Writer) error {
		if _, err := out.Write(header); err != nil {
			return err
		}
		for page := int64(0); page*p.PageProbes < p.Probes; page++ {
			if err := errors.Join(ctx.Err(), copyFile(out, p.page(page))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(p.folder())
}

func copyFile(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// writeWhole writes a file beside its place and gives it its name when it is
// whole. Two may do so at a time.
func writeWhole(path string, write func(*bufio.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".partial-")
	if err != nil {
		return fmt.Errorf("offline: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("offline: %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	out := bufio.NewWriterSize(f, 256<<10)
	if err := write(out); err != nil {
		return err
	}
	if err := errors.Join(out.Flush(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
