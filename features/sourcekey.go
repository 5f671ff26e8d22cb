package features

import (
	"fmt"
	"slices"
)

// A SourceKey makes the producer's key of a source's events. It is immutable.
type SourceKey struct {
	plan   Plan
	fields []int
}

// NewSourceKey returns the key of s, by its KeyedBy.
func NewSourceKey(s Source) (*SourceKey, error) {
	k := &SourceKey{plan: Plan{fields: s.EventFields()}}
	for _, name := range s.KeyedBy {
		i := slices.IndexFunc(k.plan.fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("features: source %q: keyed_by %q is not one of its fields", s.Name, name)
		}
		k.fields = append(k.fields, i)
	}
	return k, nil
}

// Append appends the key of an event with these values, which go by the
// source's EventFields. It is the key that Plan.AppendEntity makes of an entity
// of the same fields. It appends nothing where the source has no KeyedBy. The
// error is a *Rejection.
func (k *SourceKey) Append(dst []byte, vals []Value) ([]byte, error) {
	if len(k.fields) == 0 {
		return dst, nil
	}
	return k.plan.appendKey(dst, vals, k.fields)
}
