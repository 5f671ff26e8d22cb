package features_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
)

// FuzzDecodeRow decodes damaged rows: an error or a row that encodes again,
// never a panic.
func FuzzDecodeRow(f *testing.F) {
	var plans []*features.Plan
	for seed := range uint64(20) {
		w := featurestest.New(seed)
		plan, err := features.Compile(w.Clock, w.Source, w.View)
		if err != nil {
			f.Fatal(err)
		}
		plans = append(plans, plan)
		shard, row := plan.NewShard(features.NoTime, features.Counts{}), plan.NewRow()
		for i := range w.Events {
			if ok, _ := shard.Admit(&w.Events[i]); ok {
				shard.Fold(row, &w.Events[i])
			}
		}
		f.Add(uint8(seed), plan.AppendHead(nil, row), plan.AppendBase(nil, row))
	}
	f.Fuzz(func(t *testing.T, which uint8, head, base []byte) {
		plan := plans[int(which)%len(plans)]
		row, err := plan.DecodeRow(head, base)
		if err != nil {
			if !strings.Contains(err.Error(), "damaged") {
				t.Fatalf("unhelpful error: %v", err)
			}
			return
		}
		plan.Vector(nil, row, features.At{AsOf: row.Newest()}, nil)
		again, err := plan.DecodeRow(plan.AppendHead(nil, row), plan.AppendBase(nil, row))
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if a, b := plan.AppendHead(nil, row), plan.AppendHead(nil, again); !bytes.Equal(a, b) {
			t.Fatalf("head %x, then %x", a, b)
		}
	})
}

// TestDecodeRowRefuses names what is wrong with a row.
func TestDecodeRowRefuses(t *testing.T) {
	w := featurestest.New(3)
	plan, err := features.Compile(w.Clock, w.Source, w.View)
	if err != nil {
		t.Fatal(err)
	}
	head := plan.AppendHead(nil, plan.NewRow())
	for want, bytes := range map[string][]byte{
		"format version 9":   append([]byte{9}, head[1:]...),
		"ends too early":     head[:len(head)-1],
		"1 bytes too many":   append(bytes.Clone(head), 0),
		"do not fit in":      append(bytes.Clone(head[:9]), 0xff, 0x7f),
		"it ends too early":  head[:5],
		"4 strings do not f": append(bytes.Clone(head[:len(head)-1]), 4),
	} {
		if _, err := plan.DecodeRow(bytes, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, want %q", bytes, err, want)
		}
	}
}

// TestRowsAreStable pins the bytes of rows. When it fails, rows in people's
// stores would be read wrongly: change stateVersion in compile.go as well, so
// that they are made anew from the log, and then the sum here. (A change of the
// generator of events changes the sum, too.)
func TestRowsAreStable(t *testing.T) {
	sum := sha256.New()
	for seed := range uint64(40) {
		p := newReplay(t, featurestest.New(seed))
		for i := range p.w.Events {
			p.apply(i)
		}
		p.commit()
		for _, key := range slices.Sorted(maps.Keys(p.store)) {
			sum.Write(p.store[key].head)
			sum.Write(p.store[key].base)
		}
	}
	const want = "7f883bf7327c9790b1cac5f17d2749b166fdbf3c0eca3cf9dabf5949ddd20c87"
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		t.Errorf("rows hash to %s, want %s", got, want)
	}
}
