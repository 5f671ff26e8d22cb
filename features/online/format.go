package online

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The value under which a store keeps a shard's State, version 1. Numbers are
// little-endian; signed ones are two's complement.
//
//	offset  bytes
//	     0     16  the commit's token, first so that a script can compare it alone
//	    16      1  version of what follows: 1
//	    17      4  checksum
//	    21      8  next offset
//	    29      8  newest event time, microseconds since the Unix epoch
//	    37     48  counts: applied, dropped, duplicates, dead, truncated, nonfinite
//	    85      2  c, length of the cluster id
//	    87      2  t, length of the topic
//	    89      4  n, number of origins
//	    93      c  cluster id
//	  93+c      t  topic
//	93+c+t    8*n  origins
//
// Nothing follows. Each State has exactly one encoding (no origins and an
// empty list of them are the same State), so equal bytes mean equal progress.
const (
	stateVersion = 1
	stateFixed   = 93
)

// The bounds of a Progress. A topic's name has at most 249 bytes in Kafka and
// a cluster id 22.
const (
	MaxName    = 255    // bytes of Progress.Cluster and of Progress.Topic
	MaxOrigins = 65_536 // partitions of a source
)

// AppendState appends the encoding of s to dst. The progress must be within
// its bounds, as Commit.Check makes sure.
func AppendState(dst []byte, s *State) []byte {
	p := &s.Progress
	le := binary.LittleEndian
	dst = append(dst, s.Token[:]...)
	dst = append(dst, stateVersion)
	dst = le.AppendUint32(dst, p.Checksum)
	c := &p.Counts
	for _, n := range [...]int64{p.Next, p.Newest, c.Applied, c.Dropped, c.Duplicates, c.Dead, c.Truncated, c.Nonfinite} {
		dst = le.AppendUint64(dst, uint64(n))
	}
	dst = le.AppendUint16(dst, uint16(len(p.Cluster)))
	dst = le.AppendUint16(dst, uint16(len(p.Topic)))
	dst = le.AppendUint32(dst, uint32(len(p.Origins)))
	dst = append(dst, p.Cluster...)
	dst = append(dst, p.Topic...)
	for _, o := range p.Origins {
		dst = le.AppendUint64(dst, uint64(o))
	}
	return dst
}

// DecodeState reads what AppendState wrote. The State keeps nothing of b.
func DecodeState(b []byte) (State, error) {
	var s State
	if len(b) < len(s.Token)+1 {
		return s, fmt.Errorf("online: a shard's state of %d bytes is cut short; it starts with 16 bytes of token and 1 of version", len(b))
	}
	if v := b[16]; v != stateVersion {
		return s, fmt.Errorf("online: a shard's state has format version %d, this program knows %d; use the program that wrote it, or an empty store", v, stateVersion)
	}
	if len(b) < stateFixed {
		return s, fmt.Errorf("online: a shard's state of %d bytes is cut short; version %d has at least %d", len(b), stateVersion, stateFixed)
	}
	le := binary.LittleEndian
	cluster, topic, origins := int(le.Uint16(b[85:])), int(le.Uint16(b[87:])), int64(le.Uint32(b[89:]))
	if err := checkProgress(cluster, topic, origins); err != nil {
		return s, fmt.Errorf("online: a shard's state is damaged: %w", err)
	}
	if want := stateFixed + cluster + topic + 8*int(origins); len(b) != want {
		return s, fmt.Errorf("online: a shard's state has %d bytes, its lengths (cluster %d, topic %d, origins %d) ask for %d", len(b), cluster, topic, origins, want)
	}
	copy(s.Token[:], b)
	p := &s.Progress
	p.Checksum = le.Uint32(b[17:])
	c := &p.Counts
	for i, n := range [...]*int64{&p.Next, &p.Newest, &c.Applied, &c.Dropped, &c.Duplicates, &c.Dead, &c.Truncated, &c.Nonfinite} {
		*n = int64(le.Uint64(b[21+8*i:]))
	}
	b = b[stateFixed:]
	p.Cluster, p.Topic, b = string(b[:cluster]), string(b[cluster:cluster+topic]), b[cluster+topic:]
	if origins > 0 {
		p.Origins = make([]int64, origins)
		for i := range p.Origins {
			p.Origins[i] = int64(le.Uint64(b[8*i:]))
		}
	}
	return s, nil
}

// checkProgress takes the lengths of a progress's variable parts.
func checkProgress(cluster, topic int, origins int64) error {
	switch {
	case cluster > MaxName:
		return fmt.Errorf("cluster id of %d bytes; at most %d", cluster, MaxName)
	case topic > MaxName:
		return fmt.Errorf("topic name of %d bytes; at most %d", topic, MaxName)
	case origins > MaxOrigins:
		return fmt.Errorf("%d origins; at most %d", origins, MaxOrigins)
	}
	return nil
}

// Check says what is wrong with a commit before a store looks at it. Both
// stores refuse what it refuses.
func (c *Commit) Check() error {
	err := c.Shard.Check()
	p := &c.Progress
	switch {
	case err != nil:
	case c.Next == Token{}:
		err = errors.New("the next token is zero; use NewToken")
	case c.Next == c.Expect:
		err = errors.New("the next token is the expected one; use NewToken for each commit")
	case len(c.Writes) > MaxRows:
		err = fmt.Errorf("%d rows; at most %d, split the batch", len(c.Writes), MaxRows)
	default:
		err = checkProgress(len(p.Cluster), len(p.Topic), int64(len(p.Origins)))
	}
	if err != nil {
		return fmt.Errorf("online: commit to shard %s/%d: %w", c.Shard.Space, c.Shard.Index, err)
	}
	return c.checkWrites()
}

// checkWrites finds entities written twice: the stores would not agree on
// which one counts.
func (c *Commit) checkWrites() error {
	seen := make(map[string]struct{}, len(c.Writes))
	for i := range c.Writes {
		w := &c.Writes[i]
		if w.KeepBase && w.Base != nil {
			return fmt.Errorf("online: commit to shard %s/%d: entity %q has a base and asks to keep the stored one", c.Shard.Space, c.Shard.Index, w.Entity)
		}
		seen[w.Entity] = struct{}{}
		if len(seen) != i+1 {
			return fmt.Errorf("online: commit to shard %s/%d: entity %q is written twice", c.Shard.Space, c.Shard.Index, w.Entity)
		}
	}
	return nil
}

// MaxSpace bounds the bytes of a space's name.
const MaxSpace = 255

// Check says what is wrong with a shard's name. Braces are refused because
// Redis reads them as a hash tag.
func (s Shard) Check() error {
	if s.Space == "" || len(s.Space) > MaxSpace {
		return fmt.Errorf("the space's name has %d bytes; 1 to %d are allowed", len(s.Space), MaxSpace)
	}
	for i := range len(s.Space) {
		if c := s.Space[i]; c == '{' || c == '}' {
			return fmt.Errorf("the space's name %q has a brace", s.Space)
		}
	}
	if s.Index < 0 || s.Index >= 1<<31 {
		return fmt.Errorf("shard index %d; 0 to 2147483647 are allowed", s.Index)
	}
	return nil
}
