package online

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
)

func fullState() State {
	return State{
		Token: Token{0: 0xaa, 15: 0xbb},
		Progress: Progress{
			Cluster: "cl", Topic: "trades", Next: 0x0102030405060708, Checksum: 0xdeadbeef, Newest: math.MinInt64, Origins: []int64{-1, 5},
			Counts: features.Counts{Applied: 1, Dropped: 2, Duplicates: 3, Dead: 4, Truncated: 5, Nonfinite: 6},
		},
	}
}

// The bytes of version 1, written out by hand: stores of users have them.
const fullStateHex = "aa0000000000000000000000000000bb" + "01" + "efbeadde" + "0807060504030201" + "0000000000000080" +
	"0100000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000" + "0500000000000000" + "0600000000000000" +
	"0200" + "0600" + "02000000" + "636c" + "747261646573" + "ffffffffffffffff" + "0500000000000000"

func TestStateBytes(t *testing.T) {
	s := fullState()
	if got := hex.EncodeToString(AppendState(nil, &s)); got != fullStateHex {
		t.Errorf("encoded\n%s, want\n%s", got, fullStateHex)
	}
	b, err := hex.DecodeString(fullStateHex)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeState(b); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("decoded %+v, %v, want %+v", got, err, s)
	}
}

// Every field of a Progress must be in the encoding: a field that somebody adds
// to the struct alone shows here.
func TestStateHasEveryField(t *testing.T) {
	var walk func(v reflect.Value, path string, s *State)
	walk = func(v reflect.Value, path string, s *State) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+v.Type().Field(i).Name
			switch f.Kind() {
			case reflect.Struct:
				walk(f, name+".", s)
				continue
			case reflect.String:
				f.SetString("x")
			case reflect.Int64:
				f.SetInt(-7)
			case reflect.Uint32:
				f.SetUint(7)
			case reflect.Slice:
				f.Set(reflect.ValueOf([]int64{7}))
			default:
				t.Fatalf("%s: no value for a %v", name, f.Kind())
			}
			if got, err := DecodeState(AppendState(nil, s)); err != nil || !reflect.DeepEqual(got, *s) {
				t.Errorf("%s is lost: %+v, %v", name, got, err)
			}
		}
	}
	var s State
	walk(reflect.ValueOf(&s.Progress).Elem(), "", &s)
}

func TestEqualStatesHaveEqualBytes(t *testing.T) {
	a, b := fullState(), fullState()
	a.Progress.Origins, b.Progress.Origins = nil, []int64{}
	if !bytes.Equal(AppendState(nil, &a), AppendState(nil, &b)) {
		t.Error("no origins and an empty list of them differ")
	}
}

func TestDecodeStateErrors(t *testing.T) {
	good, err := hex.DecodeString(fullStateHex)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if s, err := DecodeState(good[:n]); err == nil {
			t.Errorf("%d of %d bytes gave %+v", n, len(good), s)
		}
	}
	for _, test := range []struct {
		change func(b []byte) []byte
		want   string
	}{
		{func(b []byte) []byte { return b[:16] }, "16 bytes is cut short"},
		{func(b []byte) []byte { return b[:92] }, "92 bytes is cut short"},
		{func(b []byte) []byte { b[16] = 2; return b }, "format version 2"},
		{func(b []byte) []byte { b[86] = 1; return b }, "cluster id of 258 bytes"},
		{func(b []byte) []byte { b[88] = 1; return b }, "topic name of 262 bytes"},
		{func(b []byte) []byte { b[92] = 0xff; return b }, "4278190082 origins"},
		{func(b []byte) []byte { return append(b, 0) }, "has 118 bytes, its lengths (cluster 2, topic 6, origins 2) ask for 117"},
	} {
		_, err := DecodeState(test.change(bytes.Clone(good)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error with %q", err, test.want)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	s := fullState()
	f.Add(AppendState(nil, &s))
	f.Add(AppendState(nil, &State{}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			return
		}
		if again := AppendState(nil, &s); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, s, again)
		}
	})
}
