package whatif

// A cache keeps what was read and computed last, up to a number of bytes.
type cache struct {
	limit int64
	items []cached // the newest last
}

type cached struct {
	key   string
	bytes int64
	value any
}

// find returns the newest value of a type that is ok, and makes it the newest.
func find[T any](c *cache, ok func(key string, value T) bool) (found T, there bool) {
	for i := len(c.items) - 1; i >= 0; i-- {
		item := c.items[i]
		value, is := item.value.(T)
		if is && ok(item.key, value) {
			c.items = append(append(c.items[:i], c.items[i+1:]...), item)
			return value, true
		}
	}
	return found, false
}

// byKey is find of one key.
func byKey[T any](c *cache, key string) (T, bool) {
	return find(c, func(k string, _ T) bool { return k == key })
}

// put keeps a value, and lets go of the oldest. One that is larger than all of it
// is not kept.
func (c *cache) put(key string, bytes int64, value any) {
	c.drop(key)
	if bytes > c.limit {
		return
	}
	c.items = append(c.items, cached{key, bytes, value})
	total := int64(0)
	for i := len(c.items) - 1; i >= 0; i-- {
		if total += c.items[i].bytes; total > c.limit {
			c.items = append([]cached(nil), c.items[i+1:]...)
			return
		}
	}
}

func (c *cache) drop(key string) {
	for i, item := range c.items {
		if item.key == key {
			c.items = append(c.items[:i], c.items[i+1:]...)
			return
		}
	}
}
