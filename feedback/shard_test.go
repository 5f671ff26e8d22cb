package feedback

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

var second = map[string]Rules{"m": {NextEvent, time.Second, 0}, "id": {ByPrediction, time.Second, 0}}

// fold folds a record into a row and returns the reason of its rejection.
func fold(s *Shard, rec Record, row *Row) string {
	if _, rejected := s.Fold(rec, row, func(*Example) {}); rejected != nil {
		return rejected.Reason
	}
	return ""
}

func TestFoldRejects(t *testing.T) {
	w := newWorld(t, second)
	for _, test := range []struct {
		rec  Record
		want string
	}{
		{Record{Prediction: samplePrediction("p", "n", "k", 0)}, RejectModel},
		{Record{Outcome: &Outcome{ID: "o", Model: "n", Key: "k"}}, RejectModel},
		{Record{Prediction: samplePrediction("p", "id", "k", 0)}, RejectKey},
	} {
		row := NewRow()
		if got := fold(w.shard, test.rec, row); got != test.want || !row.Empty() {
			t.Errorf("%+v: %q; want %q", test.rec, got, test.want)
		}
	}
	if w.shard.Stats() != (Stats{}) {
		t.Errorf("what is rejected counts: %+v", w.shard.Stats())
	}
}

// TestRowsAreBounded fills rows up to each limit. What does not fit is
// rejected, counts nowhere and does no harm; repeats need no room.
func TestRowsAreBounded(t *testing.T) {
	large := samplePrediction("large", "m", "k", 0)
	large.Vector = []features.Value{expr.StringValue(strings.Repeat("x", MaxText))}
	const atFirst = 9_900 // put there by hand: to look through as many for each record takes its time
	for _, test := range []struct {
		name string
		rec  func(i int) Record
		fill func(row *Row, i int) // one of the records that are there at first
		want int                   // records that fit besides; 0: as many bytes as fit
	}{
		{"predictions", func(i int) Record { return Record{Prediction: samplePrediction(fmt.Sprint(i), "m", "k", int64(i))} },
			func(row *Row, i int) { row.addAsked(&asked{id: fmt.Sprint("at first ", i), time: int64(i)}) }, MaxPredictions - atFirst},
		{"outcomes", func(i int) Record {
			return Record{Outcome: &Outcome{ID: fmt.Sprint(i), Model: "m", Key: "k", Time: int64(i)}}
		}, func(row *Row, i int) { row.addHeard(&heard{id: fmt.Sprint("at first ", i), time: int64(i)}) }, MaxOutcomes - atFirst},
		{"bytes", func(i int) Record { p := *large; p.ID, p.Time = fmt.Sprint(i), int64(i); return Record{Prediction: &p} }, func(*Row, int) {}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, row, n := newWorld(t, second), NewRow(), 0
			row.horizon = 1_000_000
			for i := range atFirst {
				test.fill(row, i)
			}
			for ; n <= MaxPredictions; n++ {
				if reason := fold(w.shard, test.rec(n), row); reason == RejectFull {
					break
				} else if reason != "" {
					t.Fatal(reason)
				}
			}
			if test.want == 0 && (row.Size() > MaxRowBytes || row.Size() < MaxRowBytes-MaxText-1000) || test.want > 0 && n != test.want {
				t.Fatalf("%d records fit, %d bytes", n, row.Size())
			}
			if b := row.Append(nil); len(b) > row.Size() {
				t.Errorf("a row of the size %d has %d bytes", row.Size(), len(b))
			}
			if reason := fold(w.shard, test.rec(0), row); reason != "" {
				t.Errorf("a repeat is rejected: %s", reason)
			}
			s := w.shard.Stats()
			if got := s.Predictions.Total + s.Outcomes.Total - s.Outcomes.Duplicate; got != int64(n) || !s.closed() {
				t.Errorf("%d records fit, and the stats are %+v", n, s)
			}
			w.shard.Tick(2_000_000 + int64(n)) // forgets those before
			w.shard.Expire(row, "m", func(*Example) {})
			if reason := fold(w.shard, test.rec(n), row); reason != "" {
				t.Errorf("a record for a row that has room again is rejected: %s", reason)
			}
		})
	}
}

// TestFoldClosesWhatIsDue folds an outcome into a row that nobody has expired:
// its prediction closes first.
func TestFoldClosesWhatIsDue(t *testing.T) {
	w, row := newWorld(t, second), NewRow()
	fold(w.shard, Record{Prediction: samplePrediction("p", "m", "k", 0)}, row)
	w.shard.Tick(1_000_001)
	if _, rejected := w.shard.Fold(Record{Outcome: &Outcome{ID: "o", Model: "m", Key: "k", Time: 1}}, row, w.emit); rejected != nil {
		t.Fatal(rejected)
	}
	if s := w.shard.Stats(); len(w.examples) != 1 || w.examples[0].Why != WhyNone || s.Outcomes.Late != 1 {
		t.Errorf("examples %+v, stats %+v; want one unanswered, and a late outcome", w.examples, s)
	}
}

func TestNewRowIsWhatIsLeft(t *testing.T) {
	w, row := newWorld(t, second), NewRow()
	if row.Due() != math.MaxInt64 || !row.Empty() {
		t.Errorf("a new row is due at %d", row.Due())
	}
	fold(w.shard, Record{Prediction: samplePrediction("p", "m", "k", 0)}, row)
	fold(w.shard, Record{Outcome: &Outcome{ID: "o", Model: "m", Key: "k", Time: 1}}, row)
	if row.Due() != 1_000_001 {
		t.Errorf("due at %d; want a microsecond after the horizon", row.Due())
	}
	w.shard.Tick(10_000_000)
	w.shard.Expire(row, "m", w.emit)
	if got, want := string(row.Append(nil)), string(NewRow().Append(nil)); got != want || row.Size() != 0 || !row.Empty() {
		t.Errorf("what is left is %x, size %d; a new row is %x", got, row.Size(), want)
	}
	if due, err := RowDue(nil); err != nil || due != math.MaxInt64 {
		t.Errorf("no row is due at %d, %v", due, err)
	}
	if again, err := DecodeRow(NewRow().Append(nil)); err != nil || !again.Empty() {
		t.Errorf("a new row reads back as %+v, %v", again, err)
	}
}

// TestChangedRulesHoldForWhatComes restarts with another horizon, and without
// the model.
func TestChangedRulesHoldForWhatComes(t *testing.T) {
	w := newWorld(t, second)
	w.take(Record{Prediction: samplePrediction("p", "m", "k", 0)})
	w.rules = map[string]Rules{"m": {NextEvent, 3 * time.Second, 0}}
	w.restart()
	row := w.rows[RowKey("m", "k")]
	w.shard.Tick(2_000_000)
	if changed := w.shard.Expire(row, "m", w.emit); !changed || len(w.examples) > 0 || row.Due() != 3_000_001 {
		t.Errorf("changed %v, due at %d, %d examples; want a prediction that stays open until 3 s", changed, row.Due(), len(w.examples))
	}
	w.rules = nil
	w.restart()
	row = w.rows[RowKey("m", "k")]
	w.shard.Tick(3_000_001)
	if w.shard.Expire(row, "m", w.emit); len(w.examples) != 1 || w.examples[0].Kind != Unanswered {
		t.Errorf("examples %+v; want the prediction of a model that is gone unanswered", w.examples)
	}
}

func TestNewShardRefuses(t *testing.T) {
	for want, rules := range map[string]Rules{
		`join "" is not known`: {"", time.Second, 0},
		"horizon 0s":           {At, 0, 0},
		"grace -1s":            {At, time.Second, -time.Second},
		"horizon 87672h0m1s":   {At, MaxHorizon + time.Second, 0},
	} {
		if _, err := NewShard(map[string]Rules{"m": rules}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", rules, err, want)
		}
	}
	if _, err := NewShard(nil, []byte{9}); err == nil || !strings.Contains(err.Error(), "version 9; this program reads 1") {
		t.Errorf("a state of version 9: %v", err)
	}
	if _, err := DecodeRow([]byte{2, 255, 255, 255, 255, 255, 255, 255, 127, 0x80, 0, 0, 0, 0}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a row whose horizon of 0 has two bytes: %v", err)
	}
	const old = "version 9; this program reads 2"
	if _, err := DecodeRow([]byte{9}); err == nil || !strings.Contains(err.Error(), old) {
		t.Errorf("a row of version 9: %v", err)
	}
	if _, err := RowDue([]byte{9}); err == nil || !strings.Contains(err.Error(), old) {
		t.Errorf("a row of version 9: %v", err)
	}
	if _, err := RowDue([]byte{2, 0, 0}); err == nil || !strings.Contains(err.Error(), "ends too early") {
		t.Errorf("a row of three bytes: %v", err)
	}
}

// TestStatsAsJSON pins what millrace join --stats --json prints, each counter
// with another number.
func TestStatsAsJSON(t *testing.T) {
	var s Stats
	for i, n := range s.counters() {
		*n = int64(i + 1)
	}
	got, err := json.Marshal(s.Add(s))
	const want = `{"predictions":{"total":2,"pending":4,"matched":6,"unanswered":8},` +
		`"outcomes":{"total":10,"effective":12,"superseded":14,"duplicate":16,"late":18,"invalid":20,"orphan":22,"waiting":24},` +
		`"details":{"unanswered":{"none":26,"late":28,"invalid":30},"corrections":32,"repeated_predictions":34}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

// TestOriginsAreBounded fills the shard's memory of origins. The one that does
// not fit is not known again, and those that do are.
func TestOriginsAreBounded(t *testing.T) {
	w := newWorld(t, second)
	outcome := func(partition int, offset int64) *Outcome {
		return &Outcome{At: &Position{"t", partition, offset}, Model: "m", Key: "k"}
	}
	for i := range maxOrigins + 1 {
		if !w.shard.Origin(outcome(i, 5)) {
			t.Fatalf("partition %d is not new", i)
		}
	}
	w.restart()
	for _, test := range []struct {
		partition int
		offset    int64
		want      bool
	}{{0, 5, false}, {0, 4, false}, {0, 6, true}, {0, 6, false}, {maxOrigins - 1, 5, false}, {maxOrigins, 5, true}, {maxOrigins, 5, true}} {
		if got := w.shard.Origin(outcome(test.partition, test.offset)); got != test.want {
			t.Errorf("partition %d, offset %d: new is %v, want %v", test.partition, test.offset, got, test.want)
		}
	}
	if !w.shard.Origin(&Outcome{ID: "o", Model: "m", Key: "k"}) {
		t.Error("an outcome without a position is not new")
	}
}

// TestDamagedBytesAreRefused cuts rows and a state off at each byte, adds one,
// and changes each: what is read all the same is what is written.
func TestDamagedBytesAreRefused(t *testing.T) {
	w := newWorld(t, generatedRules)
	for _, rec := range generate(rand.New(rand.NewPCG(3, 9)), 60) {
		w.take(rec)
	}
	row := func(b []byte) ([]byte, error) {
		r, err := DecodeRow(b)
		if err != nil {
			return nil, err
		}
		return r.Append(nil), nil
	}
	state := func(b []byte) ([]byte, error) {
		s, err := NewShard(generatedRules, b)
		if err != nil {
			return nil, err
		}
		return s.AppendState(nil), nil
	}
	damage(t, "state", w.shard.AppendState(nil), state)
	for key, r := range w.rows {
		damage(t, key, r.Append(nil), row)
	}
}

func damage(t *testing.T, name string, whole []byte, read func([]byte) ([]byte, error)) {
	for n := 1; n < len(whole); n++ {
		if _, err := read(whole[:n]); err == nil {
			t.Errorf("%s: %d of %d bytes are read", name, n, len(whole))
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[n] ^= flip
			if again, err := read(b); err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: with byte %d changed it is written otherwise", name, n)
			}
		}
	}
	if _, err := read(append(bytes.Clone(whole), 0)); err == nil {
		t.Errorf("%s: a byte more is read", name)
	}
}
