package streams

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// TestDeadLetters writes letters of several groups, some again, and reads each
// once.
func TestDeadLetters(t *testing.T) {
	topic := unique(t, "p.deadletters")
	c := connect(t, startMemory(t))
	ctx := testContext(t)
	if err := c.Ensure(ctx, topic, 3, DeadLetterConfig()); err != nil {
		t.Fatal(err)
	}
	p := newProducer(t, c)
	letters := make(map[string]DeadLetter)
	send := func(ds ...DeadLetter) {
		t.Helper()
		var rs []Record
		for _, d := range ds {
			r, err := d.Record()
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, r)
			letters[string(r.Key)] = d
		}
		write(t, p, topic, rs...)
	}
	letter := func(view string, partition int, offset int64) DeadLetter {
		return DeadLetter{Stage: "pipeline", View: view, Topic: "prices", Partition: partition, Offset: offset, Reason: "too_late",
			Error: "it is\n\"late\"", Key: []byte{0xff, 0}, Value: fmt.Appendf(nil, "{%d", offset), Arrival: 1_700_000_000_000_001}
	}
	for _, round := range [][]int64{{0, 3, 9}, {3, 9, 10}, {0, 3, 9, 10, 11, 500}} { // replays after a crash
		for _, o := range round {
			send(letter("daily", 0, o), letter("daily", 1, o), letter("hourly", 0, o))
		}
	}
	send(DeadLetter{Stage: "rekey", Topic: "prices", Offset: 9, Reason: "not_json"}) // no key, no value
	big := letter("daily", 2, 1)
	big.Value = bytes.Repeat([]byte{1, 2, 3}, 1<<20) // more than a topic's usual limit
	send(big)
	write(t, p, topic, Record{Value: []byte("hello"), Partition: 1})

	bad := 0
	for d, err := range ReadDeadLetters(ctx, c, topic) {
		if errors.Is(err, ErrBadDeadLetter) {
			bad++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r, _ := d.Record()
		want, ok := letters[string(r.Key)]
		if !ok || !reflect.DeepEqual(d, want) {
			t.Fatalf("letter %s is not there, was read before, or differs", r.Key)
		}
		delete(letters, string(r.Key))
	}
	if len(letters) != 0 || bad != 1 {
		t.Errorf("%d letters missing, %d bad records; want 0, 1", len(letters), bad)
	}
	for range ReadDeadLetters(ctx, c, topic) {
		break // an iteration that is left early ends
	}
	for _, err := range ReadDeadLetters(ctx, c, "nowhere") {
		if !errors.Is(err, ErrNoTopic) {
			t.Errorf("a missing topic: %v, want %v", err, ErrNoTopic)
		}
	}
}

// TestDeadLetterEncoding fixes the stored format.
func TestDeadLetterEncoding(t *testing.T) {
	d := DeadLetter{Stage: "pipeline", View: "daily", Topic: "prices", Partition: 3, Offset: 17, Reason: "not_json", Error: "bad", Value: []byte("{"), Arrival: 5}
	r, err := d.Record()
	if err != nil {
		t.Fatal(err)
	}
	const key = `["pipeline","daily","","prices",3,17]`
	const value = `{"v":1,"stage":"pipeline","view":"daily","space":"","topic":"prices","partition":3,"offset":17,"reason":"not_json","error":"bad","key":null,"value":"ew==","arrival":5}`
	if string(r.Key) != key || string(r.Value) != value {
		t.Errorf("got  %s %s\nwant %s %s", r.Key, r.Value, key, value)
	}
	d.Error = strings.Repeat("é", maxErrorText)
	if r, err = d.Record(); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeDeadLetter(r.Value); err != nil || got.Error != strings.Repeat("é", maxErrorText/2) {
		t.Errorf("a long error has %d bytes, %v", len(got.Error), err)
	}
}

func TestDecodeDeadLetterRefuses(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{``, "unexpected end"},
		{`null`, "version 0"},
		{`{"v":2,"topic":"a"}`, "version 2"},
		{`{"v":1}`, `topic "", partition 0, offset 0`},
		{`{"v":1,"topic":"a","offset":-1}`, "offset -1"},
		{`{"v":1,"topic":"a","partition":-1}`, "partition -1"},
		{`{"v":1,"topic":"a","value":"?"}`, "illegal base64"},
		{`{"v":1,"topic":"a","offset":1e30}`, "cannot unmarshal"},
	} {
		_, err := DecodeDeadLetter([]byte(tt.value))
		if !errors.Is(err, ErrBadDeadLetter) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.value, err, tt.want)
		}
	}
}

// FuzzDecodeDeadLetter checks that what decodes, encodes to what decodes to it.
func FuzzDecodeDeadLetter(f *testing.F) {
	for _, d := range []DeadLetter{
		{Topic: "a"},
		{Stage: "pipeline", View: "v", Topic: "t", Partition: math.MaxInt32, Offset: math.MaxInt64, Reason: "r", Error: "\x00\u2028", Key: []byte{}, Value: []byte{255}, Arrival: -1},
	} {
		r, err := d.Record()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.Value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := DecodeDeadLetter(value)
		if err != nil {
			if !errors.Is(err, ErrBadDeadLetter) {
				t.Fatalf("%v does not wrap %v", err, ErrBadDeadLetter)
			}
			return
		}
		if len(d.Error) > maxErrorText {
			return
		}
		r, err := d.Record()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeDeadLetter(r.Value); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v became %+v, %v", d, again, err)
		}
	})
}
