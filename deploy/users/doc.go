// Package users says who may do what on the page: names with a role and the hash
// of a password, in a small file.
//
// # The file
//
// A line is a name, a role and a bcrypt hash, with spaces between; # begins a
// comment. It must be readable by its owner alone. A server looks at it once a
// second: whoever is removed is out then. What it says is what holds: while it is
// missing or has a fault, nobody gets in, and Problem says why.
//
// # What is defended against, and how
//
// Guessing over the network. Passwords have 12 bytes at least. The first ten
// attempts at a name are looked at; of more, about seven a minute, whatever their
// number: 10,000 a day. Which those are is by chance, and not by who was first, so
// that who attacks a name all the time cannot take every turn: its owner gets in
// after some tries, and at the first one some minutes after the attack. Who is in
// stays in, since a password that was right is known again without a turn.
//
// Finding out which names there are. An unknown name costs what a known one does:
// the same turns, the same hashing, whatever the cost of the hashes in the file.
//
// Using up the machine. Half of the processors hash at most, with 64 attempts
// waiting; further ones are told that the server is busy. What is kept of names
// that are not in the file has a fixed size.
//
// Reading the file, or the memory. The file has bcrypt hashes of cost 12 only. The
// memory has a keyed hash of each password that was right of late, for pages to be
// quick, under a key that is drawn at each start and written nowhere. Who can read
// the memory of the server can read the passwords that come in, too.
//
// Not defended against: who reads the connection (use TLS, or the machine itself),
// who can write the file, and passwords that are used elsewhere, too.
package users

import (
	"errors"
	"fmt"
)

// A Role is what somebody may do.
type Role string

// The roles. Each may do what those before it may.
const (
	Viewer   Role = "viewer"   // look
	Operator Role = "operator" // acknowledge alarms, comment
	Approver Role = "approver" // approve, reject and roll back
)

var ranks = map[Role]int{Viewer: 1, Operator: 2, Approver: 3}

// Allows reports whether role r may do what needs the role needs.
func Allows(r, needs Role) bool { return ranks[needs] > 0 && ranks[r] >= ranks[needs] }

// ParseRole returns the role of that name.
func ParseRole(name string) (Role, error) {
	if ranks[Role(name)] == 0 {
		return "", fmt.Errorf("role %q is none of %s, %s and %s", name, Viewer, Operator, Approver)
	}
	return Role(name), nil
}

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("users: not found")
	ErrWrong    = errors.New("users: name or password is wrong")
	ErrSlow     = errors.New("users: there were many attempts at this name; try again, some times if need be")
	ErrBusy     = errors.New("users: the server is busy with other attempts; try again")
)
