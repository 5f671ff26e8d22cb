package users

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"math"
	"time"
)

const (
	// freeAttempts at a name are taken in at once; with more in the last minutes,
	// each has that many chances in their number.
	freeAttempts = 10

	// attemptsHalve is how long it takes for half of the attempts to be forgotten.
	attemptsHalve = time.Minute

	// maxWaiting bounds the attempts that wait for their turn: some ten seconds of
	// hashing.
	maxWaiting = 64

	// rightFor is for how long a password that was right is known without hashing,
	// from its last use on.
	rightFor = 10 * time.Minute

	// maxRight bounds the passwords that are known so: as many as there are users,
	// and as many again that have changed theirs.
	maxRight = 2 * MaxUsers

	lookEvery = time.Second
)

// Check reports whether the password is that of the name, and its role. See
// Verify.
func (u *Users) Check(name, password string) (Role, bool) {
	role, err := u.Verify(context.Background(), name, password)
	return role, err == nil
}

// Verify returns the role of who has that name and password. Errors: ErrWrong;
// ErrSlow where there were many attempts at the name, and this one was not looked
// at; ErrBusy where there are many at all; that of ctx where it ends before it is
// this attempt's turn.
func (u *Users) Verify(ctx context.Context, name, password string) (Role, error) {
	// What no user can have is no attempt at one. The rules are known to all.
	if CheckName(name) != nil || len(password) < MinPassword || len(password) > MaxPassword {
		return "", ErrWrong
	}
	a, dear, err := u.begin(name, password)
	if err != nil || a.known {
		return a.Role, err
	}
	if err := u.turn(ctx); err != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.forget(name) // it was not looked at
		return "", err
	}
	right := u.compare(&a, dear, password)
	<-u.turns
	if !right {
		return "", ErrWrong
	}
	return u.enter(&a, password)
}

// An attempt is an account, or stands for one that is not there.
type attempt struct {
	account
	known bool // the password is right, without hashing
}

// begin looks at what is known and counts the attempt. It returns the highest cost
// of all hashes, which each attempt is to cost.
func (u *Users) begin(name, password string) (a attempt, dear int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	u.look(now)
	dear = u.cost
	for _, other := range u.accounts {
		dear = max(dear, other.cost)
	}
	found, ok := u.accounts[name]
	if !ok {
		found = account{hash: nobody(dear), cost: dear}
	}
	a.account = found
	digest := u.digest(name, found.hash, password) // be there an account or not
	if until, right := u.right[digest]; ok && right && now.Before(until) {
		u.right[digest] = now.Add(rightFor)
		a.known = true
		return a, dear, nil
	}
	if !u.tally(name).admit(now, u.chance) {
		return attempt{}, dear, ErrSlow
	}
	return a, dear, nil
}

// turn waits for a place among those that hash.
func (u *Users) turn(ctx context.Context) error {
	select {
	case u.turns <- struct{}{}:
		return nil
	default:
	}
	select {
	case u.waiting <- struct{}{}:
		defer func() { <-u.waiting }()
	default:
		return ErrBusy
	}
	select {
	case u.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("users: %w", context.Cause(ctx))
	}
}

// compare hashes the password, at a cost of 2^dear in all, whatever the hash: one
// of cost c, and then c, c+1, ... dear-1.
func (u *Users) compare(a *attempt, dear int, password string) bool {
	ok := u.passwords(a.hash, password)
	for cost := a.cost; cost < dear; cost++ {
		u.passwords(nobody(cost), password)
	}
	return ok && a.Name != ""
}

// nobody is a hash of that cost that no password is known for.
func nobody(cost int) string {
	return fmt.Sprintf("$2a$%02d$millraceIsNobody......millraceKnowsNoPasswordForThis.", cost)
}

// enter keeps that a password was right.
func (u *Users) enter(a *attempt, password string) (Role, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, ok := u.accounts[a.Name]
	if !ok || found.hash != a.hash { // the file has changed meanwhile
		return "", ErrWrong
	}
	u.forget(a.Name)
	u.remember(u.digest(a.Name, a.hash, password), u.now())
	return found.Role, nil
}

func (u *Users) remember(digest [32]byte, now time.Time) {
	if len(u.right) >= maxRight {
		for d, until := range u.right {
			if !now.Before(until) || len(u.right) >= maxRight { // those that have run out, and one more
				delete(u.right, d)
			}
		}
	}
	u.right[digest] = now.Add(rightFor)
}

// digest is a keyed hash of a password. The password's hash is in it, so that it
// ends with the password.
func (u *Users) digest(name, hash, password string) (d [32]byte) {
	h := hmac.New(sha256.New, u.key[:])
	fmt.Fprintf(h, "%d %s %d %s %s", len(name), name, len(hash), hash, password)
	h.Sum(d[:0])
	return d
}

// look reads the file again where it has changed.
func (u *Users) look(now time.Time) {
	if u.path == "" || now.Sub(u.looked) < lookEvery && !now.Before(u.looked) {
		return
	}
	u.looked = now
	before := u.problem
	if u.problem = u.readAgain(); u.problem != nil {
		clear(u.accounts)
		u.seen = seen{}
	}
	switch {
	case u.Log == nil:
	case u.problem != nil && (before == nil || before.Error() != u.problem.Error()):
		u.Log.Error("nobody can use the page until the file of users can be read", "error", u.problem)
	case u.problem == nil && before != nil:
		u.Log.Info("the file of users can be read again")
	}
}

// Problem says why the file cannot be read, so that nobody gets in; nil: it can.
func (u *Users) Problem() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.look(u.now())
	return u.problem
}

// A tally counts the attempts at a name, less the older they are.
type tally struct {
	count float64
	at    time.Time
}

// tally returns that of a name. Names that are not in the file share some.
func (u *Users) tally(name string) *tally {
	if _, known := u.accounts[name]; !known {
		return &u.others[maphash.String(u.seed, name)%uint64(len(u.others))]
	}
	if u.tallies[name] == nil {
		u.tallies[name] = &tally{}
	}
	return u.tallies[name]
}

// admit counts an attempt and reports whether it is looked at.
func (t *tally) admit(now time.Time, chance func() float64) bool {
	t.age(now)
	t.count++
	return t.count <= freeAttempts || chance()*t.count < freeAttempts
}

// forget takes back the last attempt at a name.
func (u *Users) forget(name string) {
	t := u.tally(name)
	t.age(u.now())
	t.count = max(0, t.count-1)
}

func (t *tally) age(now time.Time) {
	if since := now.Sub(t.at); since > 0 {
		t.count *= math.Exp2(-float64(since) / float64(attemptsHalve))
	}
	t.at = now
}
