package pipeline

// Limits of a rowCache.
const (
	cachedRows  = 50_000   // rows in the younger half
	cachedBytes = 64 << 20 // and their size, about
)

// An entry is a row in memory.
type entry[R sized] struct {
	entity string
	row    R
	bytes  int // its size when it was last looked at
	dirty  bool
}

// A sized row knows about how many bytes it takes.
type sized interface{ Size() int }

// A rowCache keeps rows by entity, in two generations: when the younger is
// full, the older is forgotten and the younger takes its place. Rows that are
// used move to the younger. It must forget only when no row is dirty or in use:
// who asked for a forgotten one again would be given what the store has.
type rowCache[R sized] struct {
	young, old map[string]*entry[R]
	bytes      int // about, of young
}

func (c *rowCache[R]) get(entity []byte) *entry[R] {
	if n := c.young[string(entity)]; n != nil {
		return n
	}
	n := c.old[string(entity)]
	if n != nil {
		c.put(n)
	}
	return n
}

func (c *rowCache[R]) put(n *entry[R]) {
	if c.young == nil {
		c.young = map[string]*entry[R]{}
	}
	c.young[n.entity] = n
	c.bytes += n.bytes
}

func (c *rowCache[R]) age() {
	if len(c.young) > cachedRows || c.bytes > cachedBytes {
		c.young, c.old, c.bytes = nil, c.young, 0
	}
}

// grow notes the row's size and returns by how much it has changed.
func (n *entry[R]) grow() int {
	was := n.bytes
	n.bytes = n.row.Size()
	return n.bytes - was
}
