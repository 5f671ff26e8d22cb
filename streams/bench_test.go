package streams

import (
	"testing"
)

// BenchmarkFetch reads a partition of records with 60-byte values and 8-byte
// keys. One operation is one event; the broker shares the process.
func BenchmarkFetch(b *testing.B) {
	const n = 500_000
	c := newCluster(b, "bench", 1)
	fillBench(b, c, n)
	ctx := b.Context()
	var r *Reader
	left, bytes := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		if left == 0 {
			if r != nil {
				r.Close()
			}
			r, left = c.Reader("bench", 0, 0), n
		}
		batch, err := r.Fetch(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for j := range batch.Records {
			bytes += len(batch.Records[j].Key) + len(batch.Records[j].Value)
		}
		i += len(batch.Records)
		left -= len(batch.Records)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func fillBench(b *testing.B, c *Cluster, n int) {
	p := newProducer(b, c)
	records := make([]Record, 10_000)
	for i := range records {
		records[i] = Record{Key: []byte("12345678"), Value: make([]byte, 60)}
	}
	for range n / len(records) {
		write(b, p, "bench", records...)
	}
}

// BenchmarkDecode is Fetch without the broker and the network.
func BenchmarkDecode(b *testing.B) {
	const n = 10_000
	var w batchWriter
	w.reset()
	for range n {
		w.add(&Record{Key: []byte("12345678"), Value: make([]byte, 60)}, 1_760_000_000_000)
	}
	raw := w.finish(-1, -1, -1)[rawLen:]
	var r Reader
	b.ReportAllocs()
	for i := 0; i < b.N; i += n {
		r.next = 0
		r.set.reset(raw)
		for r.set.left > 0 || len(r.set.rest) > 0 {
			if err := r.decode(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkProduce writes records with 60-byte values, 5,000 a call. One
// operation is one event; the broker shares the process.
func BenchmarkProduce(b *testing.B) {
	c := newCluster(b, "bench", 4)
	p := newProducer(b, c)
	records := make([]Record, 5_000)
	for i := range records {
		records[i] = Record{Key: []byte{byte(i), byte(i >> 8)}, Value: make([]byte, 60), Partition: -1}
	}
	ctx := b.Context()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(records) {
		if _, err := p.Produce(ctx, "bench", records); err != nil {
			b.Fatal(err)
		}
	}
}
