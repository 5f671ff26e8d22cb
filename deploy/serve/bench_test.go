package serve

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
)

const (
	benchEntities = 20_000
	benchRows     = 100 // of a request
	benchFeatures = 50
)

// benchViews have 50 features each: stored has 50 last values, which is what a
// store of precomputed features gives; windows has 10 statistics over each of 5
// sliding windows, which are merged from tiles as they are read.
func benchViews() (features.Source, []features.View) {
	src := features.Source{Name: "trades", Topic: "trades", KeyedBy: []string{"ent"}, EventTime: "at", Partitions: 8,
		Fields: []features.Field{{Name: "ent", Kind: expr.Int}, {Name: "at", Kind: expr.Time}}}
	stored := features.View{Name: "stored", Source: "trades", Entity: []string{"ent"}}
	for i := range benchFeatures {
		name := fmt.Sprintf("f%d", i)
		src.Fields = append(src.Fields, features.Field{Name: name, Kind: expr.Float})
		stored.Features = append(stored.Features, features.Feature{Name: name, Agg: "last", Of: name, Window: features.Window{Kind: features.Lifetime}})
	}
	windows := features.View{Name: "windows", Source: "trades", Entity: []string{"ent"}}
	for _, size := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour} {
		for _, of := range []string{"f0", "f1"} {
			for _, agg := range []string{"mean", "std", "min", "max", "sum"} {
				windows.Features = append(windows.Features, features.Feature{Name: fmt.Sprintf("%s_%s_%s", of, agg, size), Agg: agg, Of: of, Window: features.Window{Size: size}})
			}
		}
	}
	return src, []features.View{stored, windows}
}

// benchServer has a store with rows of 20,000 entities in one view.
func benchServer(b *testing.B, v features.View) *Server {
	store, err := pebble.Open(b.TempDir())
	must(b, err)
	b.Cleanup(func() { store.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{"127.0.0.1:1"}}) // never spoken to
	must(b, err)
	producer := streams.NewProducer(cluster)
	b.Cleanup(func() { producer.Close(); cluster.Close() })
	src, _ := benchViews()
	cfg := Config{Project: project, Store: store, Producer: producer, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	plan, err := features.Compile(features.WallClock, src, v)
	must(b, err)
	cfg.Plans = []*features.Plan{plan}
	fillBench(b, store, plan)
	s, err := New(cfg)
	must(b, err)
	return s
}

func fillBench(b *testing.B, store online.Store, plan *features.Plan) {
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Now().Add(-24 * time.Hour).UnixMicro()
	shards := make([][]online.Write, plan.Source.Partitions)
	for e := range int64(benchEntities) {
		shard, row := plan.NewShard(features.NoTime, features.Counts{}), plan.NewRow()
		for i := range int64(24) {
			ev := features.Event{Time: start + i*3_600_000_000, Order: features.OrderOf(0, i)}
			ev.Arrival = ev.Time
			ev.Values = []features.Value{expr.IntValue(e), expr.TimeValue(ev.Time)}
			for range benchFeatures {
				ev.Values = append(ev.Values, expr.FloatValue(float64(r.Float32())))
			}
			if ok, bad := shard.Admit(&ev); !ok {
				b.Fatal(bad)
			}
			shard.Fold(row, &ev)
		}
		key := fmt.Append(nil, e)
		part := streams.PartitionOf(key, len(shards))
		shards[part] = append(shards[part], online.Write{Entity: string(key), Head: plan.AppendHead(nil, row), Base: plan.AppendBase(nil, row)})
	}
	for part, writes := range shards {
		var last online.Token
		for chunk := range slices.Chunk(writes, online.MaxRows) {
			c := &online.Commit{Shard: online.Shard{Space: plan.Space(project), Index: part}, Expect: last, Next: online.NewToken(), Writes: chunk}
			c.Progress.Newest = start + 23*3_600_000_000
			must(b, store.Commit(b.Context(), c))
			last = c.Next
		}
	}
}

// benchBodies are requests of 100 random entities.
func benchBodies(s *Server, view string) []string {
	r := rand.New(rand.NewPCG(3, 4))
	var refs []string
	for _, o := range s.lookup.views[view].Outputs() {
		refs = append(refs, fmt.Sprintf("%q", view+":"+o.Name))
	}
	bodies := make([]string, 200)
	for i := range bodies {
		var keys []string
		for range benchRows {
			keys = append(keys, fmt.Sprint(r.IntN(benchEntities)))
		}
		bodies[i] = `{"features":[` + strings.Join(refs, ",") + `],"entities":{"ent":[` + strings.Join(keys, ",") + `]}}`
	}
	return bodies
}

// A sink takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
	bytes  int64
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.bytes += int64(len(b)); return len(b), nil }

// BenchmarkLookup answers requests for 100 entities x 50 features: the handler
// alone.
func BenchmarkLookup(b *testing.B) {
	_, views := benchViews()
	for _, view := range views {
		s := benchServer(b, view)
		bodies := benchBodies(s, view.Name)
		b.Run(view.Name, func(b *testing.B) {
			b.ReportAllocs()
			out := &sink{header: http.Header{}}
			for i := range b.N {
				s.ServeHTTP(out, httptest.NewRequest(http.MethodPost, "/get-online-features", strings.NewReader(bodies[i%len(bodies)])))
				if out.status != http.StatusOK {
					b.Fatal(out.status)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/row")
			b.ReportMetric(float64(out.bytes)/float64(b.N*benchRows), "B/row")
		})
	}
}

// BenchmarkHTTP is BenchmarkLookup over a loopback connection. The client sends
// and reads bare bytes; both sides' CPU is counted, so that the rows per CPU
// second are a lower bound of the server's.
func BenchmarkHTTP(b *testing.B) {
	_, views := benchViews()
	for _, view := range views {
		s := benchServer(b, view)
		server := httptest.NewServer(s)
		b.Cleanup(server.Close)
		bodies := benchBodies(s, view.Name)
		for i, body := range bodies {
			bodies[i] = fmt.Sprintf("POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		b.Run(view.Name, func(b *testing.B) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			must(b, err)
			defer conn.Close()
			buf := make([]byte, 1<<20)
			before := cpu()
			b.ResetTimer()
			for i := range b.N {
				_, err := conn.Write([]byte(bodies[i%len(bodies)]))
				must(b, err)
				n := 0
				for !bytes.HasSuffix(buf[:n], []byte("]}")) || !bytes.Contains(buf[max(0, n-8<<10):n], []byte(`"as_of":[`)) {
					k, err := conn.Read(buf[n:])
					must(b, err)
					n += k
				}
				if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200")) {
					b.Fatalf("%s", buf[:n])
				}
			}
			b.ReportMetric(float64(b.N*benchRows)/(cpu()-before).Seconds(), "rows/cpu-s")
		})
	}
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPredict asks one model of five features of two views: answered is
// the lookup and the score alone; logged is the whole request, with a broker in
// this process that has acknowledged it.
func BenchmarkPredict(b *testing.B) {
	m := newModelWorld(b, nil)
	m.seed()
	m.champion("rises")
	p := m.predictors["rises"]
	b.Run("answered", func(b *testing.B) {
		b.ReportAllocs()
		var v Vectors
		before := cpu()
		for range b.N {
			q, err := decodeQuestion([]byte(askA))
			must(b, err)
			out, err := m.answer(b.Context(), p, p.loaded.Load(), q, &v)
			must(b, err)
			if len(out.AppendJSON(nil)) == 0 {
				b.Fatal("no record")
			}
		}
		b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	})
	b.Run("logged", func(b *testing.B) {
		b.ReportAllocs()
		before := cpu()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if status, answer := m.post(predictPath+"rises", askA); status != http.StatusOK {
					b.Error(status, answer)
				}
			}
		})
		b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	})
}
