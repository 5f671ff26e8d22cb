package bundle_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// BenchmarkScore scores vectors of five inputs, one of which is a text.
func BenchmarkScore(b *testing.B) {
	w, dir := newWorld(b, learn.Binary, 1, 300), b.TempDir()
	opened, err := bundle.Open(dir, w.write(b, dir), []ed25519.PublicKey{public(w.key)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := opened.Score(w.rows[i%len(w.rows)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
