package feedback

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// Limits of records. They bound a record's size and so that of a row.
const (
	MaxID     = 256                // bytes of the id of a prediction or outcome: ids are remembered
	MaxKey    = 4096               // bytes of a key; those made of an entity have at most 1024
	MaxVector = 1024               // values of a vector
	MaxText   = 96 << 10           // bytes of the texts of a vector: six times that, with every byte escaped, leaves room below MaxRecord
	maxEntity = 8                  // fields of an entity, as in a view
	maxName   = 64                 // bytes of a field's name
	maxHash   = 128                // bytes of a set or a bundle's id: twice a SHA-256 in hex
	maxTopic  = 249                // bytes of a topic's name in Kafka
	maxIndex  = 1<<31 - 1          // of a partition in Kafka
	MaxRecord = 1 << 20            // bytes of a record: what Kafka takes by default
	minTime   = -62135596800000000 // 0001-01-01T00:00:00Z, the first time of RFC 3339
	maxTime   = 253402300799999999 // the last microsecond of the year 9999
)

// Check reports the first thing that keeps p from being a record: a text that
// is empty or beyond its limit, a number that is not finite, a time outside the
// years 0001 to 9999.
func (p *Prediction) Check() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("feedback: prediction %s: %w", short(p.ID), err)
	}
	return nil
}

func (p *Prediction) check() error {
	err := first(checkText("id", p.ID, 1, MaxID), checkModel(p.Model), checkText("key", p.Key, 1, MaxKey), checkTime("time", p.Time), checkText("set", p.Set, 1, maxHash))
	if err != nil {
		return err
	}
	if err := checkEntity(p.Entity); err != nil {
		return err
	}
	if err := checkVector(p.Vector); err != nil {
		return err
	}
	if err := p.Score.check("score"); err != nil {
		return err
	}
	if p.Shadow != nil {
		return p.Shadow.check("shadow")
	}
	return nil
}

// Check reports the first thing that keeps o from being a record. One of ID
// and At must be set.
func (o *Outcome) Check() error {
	if err := o.check(); err != nil {
		return fmt.Errorf("feedback: outcome %s: %w", short(o.name()), err)
	}
	return nil
}

func (o *Outcome) check() error {
	err := first(checkModel(o.Model), checkText("key", o.Key, 1, MaxKey), checkTime("time", o.Time), checkFinite("label", o.Label))
	switch {
	case err != nil:
		return err
	case o.At == nil:
		return checkText("id", o.ID, 1, MaxID)
	case o.ID != "":
		return fmt.Errorf("has an id and a position; give one of them")
	}
	return o.At.check()
}

func (p Position) check() error {
	if err := checkText("at.topic", p.Topic, 1, maxTopic); err != nil {
		return err
	}
	if p.Partition < 0 || p.Partition > maxIndex {
		return fmt.Errorf("at.partition is %d; want 0 to %d", p.Partition, maxIndex)
	}
	if p.Offset < 0 {
		return fmt.Errorf("at.offset is %d; offsets start at 0", p.Offset)
	}
	return nil
}

// String returns topic/partition/offset.
func (p Position) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }

// name is the outcome's id as examples show it.
func (o *Outcome) name() string {
	if o.At != nil {
		return o.At.String()
	}
	return o.ID
}

func (e *Example) check() error {
	if e.Seq < 1 {
		return fmt.Errorf("seq is %d; numbers are greater than 0", e.Seq)
	}
	if err := checkTime("known", e.Known); err != nil || e.Kind == Passed {
		return err
	}
	if e.Kind == Unanswered {
		if e.Why != WhyNone && e.Why != WhyLate && e.Why != WhyInvalid {
			return fmt.Errorf("why is %s; want %s, %s or %s", short(e.Why), WhyNone, WhyLate, WhyInvalid)
		}
		return e.Prediction.check()
	}
	return first(checkFinite("label", e.Label), checkTime("happened", e.Happened), checkText("outcome", e.Outcome, 1, maxTopic+MaxID), e.Prediction.check())
}

func checkEntity(fields []features.Named) error {
	if len(fields) > maxEntity {
		return fmt.Errorf("entity has %d fields; at most %d", len(fields), maxEntity)
	}
	for i, n := range fields {
		if err := first(checkText("a field's name in entity", n.Name, 1, maxName), checkText("entity."+n.Name, n.Expr, 0, MaxKey)); err != nil {
			return err
		}
		if slices.ContainsFunc(fields[:i], func(o features.Named) bool { return o.Name == n.Name }) {
			return fmt.Errorf("entity.%s is there twice", n.Name)
		}
	}
	return nil
}

func checkVector(vector []features.Value) error {
	if len(vector) > MaxVector {
		return fmt.Errorf("vector has %d values; at most %d", len(vector), MaxVector)
	}
	texts := 0
	for i, v := range vector {
		if v.Kind > expr.Time {
			return fmt.Errorf("vector[%d] is of kind %d, which there is not", i, uint8(v.Kind))
		}
		texts += len(v.Str)
	}
	if texts > MaxText {
		return fmt.Errorf("vector has texts of %d bytes together; at most %d", texts, MaxText)
	}
	return nil
}

func (s *Score) check(name string) error {
	if s.Version < 0 || s.Version > maxIndex {
		return fmt.Errorf("%s.version is %d; want 0, the base rate, to %d", name, s.Version, maxIndex)
	}
	if s.Version == 0 && s.Bundle != "" {
		return fmt.Errorf("%s.bundle is %s; version 0, the base rate, has none", name, short(s.Bundle))
	}
	if s.Version > 0 && s.Bundle == "" {
		return fmt.Errorf("%s.bundle is empty; version %d has one", name, s.Version)
	}
	return first(checkText(name+".bundle", s.Bundle, 0, maxHash), checkFinite(name+".value", s.Value))
}

func checkModel(name string) error {
	if !features.NamePattern.MatchString(name) {
		return fmt.Errorf("model %s is not a name: a letter or _, then letters, digits and _, at most 64 in all", short(name))
	}
	return nil
}

func checkText(name, s string, least, most int) error {
	switch {
	case len(s) < least:
		return fmt.Errorf("%s is empty", name)
	case len(s) > most:
		return fmt.Errorf("%s has %d bytes; at most %d", name, len(s), most)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is %s, which is not UTF-8", name, short(s))
	}
	return nil
}

func checkTime(name string, us int64) error {
	if us < minTime || us > maxTime {
		return fmt.Errorf("%s is %d; want microseconds since the Unix epoch in the years 0001 to 9999", name, us)
	}
	return nil
}

func checkFinite(name string, x float64) error {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Errorf("%s is %v; want a finite number", name, x)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// short is s as messages show it.
func short(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
