package lake

import (
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A column holds the values of one column. Only the slice of its type is used.
type column struct {
	name    string
	typ     parquet.Type
	logical schema.LogicalType
	absent  bool // reading: the file does not have it

	flags  []bool
	int32s []int32
	int64s []int64
	floats []float64
	text   []byte // all texts, one behind the other
	ends   []int  // where each text ends
}

func (c *column) reset() {
	c.flags, c.int32s, c.int64s, c.floats = c.flags[:0], c.int32s[:0], c.int64s[:0], c.floats[:0]
	c.text, c.ends = c.text[:0], c.ends[:0]
}

// A table holds events as columns.
type table struct {
	fields    []features.Field
	eventTime int
	values    []*column // by field
	valid     []*column // by field; nil: NaN is missing, or the field cannot be
	partition *column
	offset    *column
	time      *column
	arrival   *column
	day       *column

	columns []*column // all of them, in the order of the file
	rows    int
	bytes   int // that the rows take in memory
}

var (
	textType      = schema.StringLogicalType{}
	timestampType = schema.NewTimestampLogicalType(true, schema.TimeUnitMicros)
	dateType      = schema.DateLogicalType{}
	noType        = schema.NoLogicalType{}
)

// columnOf returns a column for values of a kind, and whether there is one.
func columnOf(name string, kind features.Kind) (column, bool) {
	c := column{name: name, logical: noType}
	switch kind {
	case expr.Bool:
		c.typ = parquet.Types.Boolean
	case expr.Int:
		c.typ = parquet.Types.Int64
	case expr.Float:
		c.typ = parquet.Types.Double
	case expr.String:
		c.typ, c.logical = parquet.Types.ByteArray, textType
	case expr.Time:
		c.typ, c.logical = parquet.Types.Int64, timestampType
	default:
		return c, false
	}
	return c, true
}

// newTable lays out the columns of src's events.
func newTable(src features.Source) (*table, error) {
	t := &table{fields: src.EventFields()}
	for i, f := range t.fields {
		c, _ := columnOf(f.Name, f.Kind) // a source's fields have kinds
		t.values = append(t.values, t.add(&c))
		var valid *column
		if f.Name == src.EventTime {
			t.eventTime = i
		} else if f.Kind != expr.Float || src.AllowNonfinite {
			valid = t.add(&column{name: f.Name + "_valid", typ: parquet.Types.Boolean, logical: noType})
		}
		t.valid = append(t.valid, valid)
	}
	t.partition = t.add(&column{name: "_partition", typ: parquet.Types.Int32, logical: noType})
	t.offset = t.add(&column{name: "_offset", typ: parquet.Types.Int64, logical: noType})
	t.time = t.add(&column{name: "_event_time", typ: parquet.Types.Int64, logical: timestampType})
	t.arrival = t.add(&column{name: "_arrival", typ: parquet.Types.Int64, logical: timestampType})
	t.day = t.add(&column{name: "_event_day", typ: parquet.Types.Int32, logical: dateType})
	names := map[string]bool{}
	for _, c := range t.columns {
		if names[c.name] {
			return nil, fmt.Errorf("lake: source %q: two columns would be named %q; rename a field", src.Name, c.name)
		}
		names[c.name] = true
	}
	return t, nil
}

func (t *table) add(c *column) *column {
	t.columns = append(t.columns, c)
	return c
}

// schema returns the columns as Parquet declares them.
func (t *table) schema() (*schema.GroupNode, error) {
	var nodes schema.FieldList
	for _, c := range t.columns {
		n, err := schema.NewPrimitiveNodeLogical(c.name, parquet.Repetitions.Required, c.logical, c.typ, -1, -1)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return schema.NewGroupNode("event", parquet.Repetitions.Required, nodes, -1)
}

func (t *table) reset() {
	for _, c := range t.columns {
		c.reset()
	}
	t.rows, t.bytes = 0, 0
}

// append adds an event; it copies what it keeps.
func (t *table) append(ev *features.Event, partition int, offset int64) {
	for i, c := range t.values {
		v := ev.Values[i]
		switch t.fields[i].Kind {
		case expr.Bool:
			c.flags = append(c.flags, v.Bool())
		case expr.Float:
			x := math.NaN()
			if v.Kind == expr.Float {
				x = v.Float()
			}
			c.floats = append(c.floats, x)
		case expr.String:
			c.text = append(c.text, v.Str...)
			c.ends = append(c.ends, len(c.text))
			t.bytes += len(v.Str)
		default:
			c.int64s = append(c.int64s, v.Int())
		}
		if t.valid[i] != nil {
			t.valid[i].flags = append(t.valid[i].flags, v.Kind != expr.Missing)
		}
	}
	t.partition.int32s = append(t.partition.int32s, int32(partition))
	t.offset.int64s = append(t.offset.int64s, offset)
	t.time.int64s = append(t.time.int64s, ev.Time)
	t.arrival.int64s = append(t.arrival.int64s, ev.Arrival)
	t.day.int32s = append(t.day.int32s, dayOf(ev.Time))
	t.bytes += 8 * len(t.columns)
	t.rows++
}

// dayOf returns the days since the Unix epoch in UTC.
func dayOf(us int64) int32 {
	const day = 24 * 3600 * 1e6
	d := us / day
	if us%day < 0 {
		d--
	}
	return int32(d)
}

// value returns field i of a row; text is the column's text as a string.
func (t *table) value(i, row int, text string) features.Value {
	c, valid := t.values[i], t.valid[i]
	if c.absent || valid != nil && !valid.absent && !valid.flags[row] {
		return features.Value{}
	}
	switch t.fields[i].Kind {
	case expr.Bool:
		return expr.BoolValue(c.flags[row])
	case expr.Int:
		return expr.IntValue(c.int64s[row])
	case expr.Time:
		return expr.TimeValue(c.int64s[row])
	case expr.String:
		start := 0
		if row > 0 {
			start = c.ends[row-1]
		}
		return expr.StringValue(text[start:c.ends[row]])
	}
	if x := c.floats[row]; x == x || valid != nil && !valid.absent {
		return expr.FloatValue(x)
	}
	return features.Value{} // NaN
}
