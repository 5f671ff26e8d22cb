package users

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// A desk is where users are checked: its clock is the test's, chance is drawn from
// a seed, and hashing is counted.
type desk struct {
	*Users
	clock  time.Time
	looked int // attempts that were looked at
	work   int // 2^cost of all hashes
}

func newDesk(t *testing.T, path string, seed uint64) *desk {
	t.Helper()
	d := &desk{Users: read(t, path), clock: time.Unix(1e9, 0)}
	d.now = func() time.Time { return d.clock }
	d.chance = rand.New(rand.NewPCG(seed, 1)).Float64
	d.passwords = func(hash, password string) bool {
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			t.Error(err)
		}
		d.work += 1 << cost
		return matches(hash, password)
	}
	return d
}

// unhashed has a desk know ann's and ben's passwords without hashing, for the tests
// of many attempts.
func (d *desk) unhashed() {
	known := map[string]string{d.accounts["ann"].hash: "correct horse", d.accounts["ben"].hash: "battery staple"}
	d.passwords = func(hash, password string) bool {
		d.looked++
		return known[hash] == password
	}
}

func TestNobodyIsAHash(t *testing.T) {
	for cost := bcrypt.MinCost; cost < 8; cost++ {
		if err := bcrypt.CompareHashAndPassword([]byte(nobody(cost)), []byte("correct horse")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("cost %d: %v", cost, err)
		}
	}
}

// TestAnUnknownNameCostsWhatAKnownOneDoes, with hashes of several costs.
func TestAnUnknownNameCostsWhatAKnownOneDoes(t *testing.T) {
	path := write(t)
	u := read(t, path)
	u.cost = 6
	must(t, u.Set("cyd", Viewer, "seventh heaven"))
	u.cost = 5
	must(t, u.Set("dan", Viewer, "fifth element"))
	must(t, u.Write(path))
	d := newDesk(t, path, 1)
	for _, name := range []string{"ann", "cyd", "dan", "eve", "mallory"} {
		for _, password := range []string{"correct horse", "seventh heaven", "some other words"} {
			d.work = 0
			if _, ok := d.Check(name, password); d.work != 1<<6 {
				t.Errorf("%s with %s, which is %v, costs %d, want %d", name, password, ok, d.work, 1<<6)
			}
		}
	}
}

// TestAttemptsAreSlowed: of 12,000 attempts at a name in 20 minutes only so many are
// looked at, be there such a name or not, and others are let in meanwhile.
func TestAttemptsAreSlowed(t *testing.T) {
	path := write(t)
	for _, name := range []string{"ann", "nobody"} {
		d := newDesk(t, path, 1)
		d.unhashed()
		slow := 0
		for minute := range 20 {
			for i := range 600 {
				d.clock = d.clock.Add(100 * time.Millisecond)
				_, err := d.Verify(t.Context(), name, fmt.Sprintf("some other words %d %d", minute, i))
				switch {
				case errors.Is(err, ErrSlow):
					slow++
				case !errors.Is(err, ErrWrong):
					t.Fatal(err)
				}
			}
		}
		// Seven a minute on average, and the first ten.
		if d.looked < 90 || d.looked > 250 || d.looked+slow != 12_000 {
			t.Errorf("%s: %d of 12,000 were looked at, %d were slowed", name, d.looked, slow)
		}
		if role, ok := d.Check("ben", "battery staple"); role != Viewer || !ok {
			t.Errorf("ben does not get in while %s is attacked", name)
		}
	}
}

// TestNobodyIsLockedOut: under an attack that never ends the owner of a name gets
// in, stays in, and after it is in at the first attempt.
func TestNobodyIsLockedOut(t *testing.T) {
	path := write(t)
	for seed := range uint64(20) {
		d := newDesk(t, path, seed)
		d.unhashed()
		attack := func() {
			for i := range 20 { // two a second
				d.clock = d.clock.Add(500 * time.Millisecond)
				if _, ok := d.Check("ann", fmt.Sprint("some other words ", i)); ok {
					t.Fatal("a wrong password is right")
				}
			}
		}
		for range 30 { // five minutes
			attack()
		}
		tries := 1
		for ; tries < 300; tries++ { // one every ten seconds
			if _, ok := d.Check("ann", "correct horse"); ok {
				break
			}
			attack()
		}
		if tries == 300 {
			t.Errorf("seed %d: ann is locked out", seed)
		}
		for range 100 {
			attack()
			if _, ok := d.Check("ann", "correct horse"); !ok {
				t.Fatalf("seed %d: ann was in, and is locked out", seed)
			}
		}
		d.right = map[[32]byte]time.Time{} // from elsewhere
		d.clock = d.clock.Add(8 * time.Minute)
		if _, ok := d.Check("ann", "correct horse"); !ok {
			t.Errorf("seed %d: ann does not get in after the attack", seed)
		}
	}
}

// TestARightPasswordIsKnownAgain without hashing, for a while, and never in clear
// text.
func TestARightPasswordIsKnownAgain(t *testing.T) {
	path := write(t)
	d := newDesk(t, path, 1)
	costs := func(password string, want bool, work int) {
		t.Helper()
		d.work = 0
		if _, ok := d.Check("ann", password); ok != want || d.work != work {
			t.Errorf("%s: %v for %d, want %v for %d", password, ok, d.work, want, work)
		}
	}
	costs("correct horse", true, 16)
	costs("correct horse", true, 0)
	costs("correct horsf", false, 16)
	d.clock = d.clock.Add(rightFor - time.Second)
	costs("correct horse", true, 0)
	d.clock = d.clock.Add(rightFor - time.Second)
	costs("correct horse", true, 0)
	d.clock = d.clock.Add(rightFor)
	costs("correct horse", true, 16)
	if text := fmt.Sprintf("%+v", d.right); strings.Contains(text, "horse") || len(d.right) != 1 {
		t.Error(text)
	}

	// With another password the old one is out at once, the same one too if it is
	// set anew; so is who has another role.
	u := read(t, path)
	must(t, u.Set("ann", Operator, "another horse"))
	must(t, u.Write(path))
	d.clock = d.clock.Add(lookEvery)
	costs("correct horse", false, 16)
	if role, ok := d.Check("ann", "another horse"); role != Operator || !ok {
		t.Errorf("%s, %v", role, ok)
	}
	must(t, u.Remove("ann"))
	must(t, u.Write(path))
	costs("another horse", true, 0) // within a second of the last look
	d.clock = d.clock.Add(lookEvery)
	costs("another horse", false, 16)
}

// TestWhatIsKeptIsBounded by an attacker with many names.
func TestWhatIsKeptIsBounded(t *testing.T) {
	d := newDesk(t, write(t), 1)
	d.passwords = func(string, string) bool { return true } // even so
	for i := range 20_000 {
		if _, ok := d.Check(fmt.Sprint("user", i), "some other words"); ok {
			t.Fatal("an unknown name gets in")
		}
	}
	if len(d.tallies) != 0 || len(d.right) != 0 {
		t.Errorf("%d tallies, %d passwords", len(d.tallies), len(d.right))
	}
	for i := range 3 * maxRight {
		d.remember([32]byte{byte(i), byte(i >> 8)}, d.clock)
	}
	if len(d.right) != maxRight {
		t.Errorf("%d passwords", len(d.right))
	}
}

// TestFewHashAtOnce, a bounded number waits, and the others are told so.
func TestFewHashAtOnce(t *testing.T) {
	u := read(t, write(t))
	u.turns = make(chan struct{}, 2)
	var mu sync.Mutex
	now, most := 0, 0
	begun, release := make(chan struct{}, 100), make(chan struct{})
	u.passwords = func(string, string) bool {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		begun <- struct{}{}
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		return false
	}
	attempts := func(n int, from int) <-chan error {
		errs := make(chan error, n)
		for i := range n {
			go func() {
				_, err := u.Verify(t.Context(), fmt.Sprint("user", from+i), "some other words")
				errs <- err
			}()
		}
		return errs
	}
	first := attempts(2, 0)
	<-begun
	<-begun
	// Of these 64 wait and the others are turned away: it is they that end first.
	second := attempts(maxWaiting+5, 2)
	for range 5 {
		if err := <-second; !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Verify(ctx, "late", "some other words"); !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	for range 2 {
		if err := <-first; !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
	}
	for range maxWaiting {
		if err := <-second; !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
	}
	if most != 2 || len(u.turns) != 0 || len(u.waiting) != 0 {
		t.Errorf("%d at once, %d and %d left", most, len(u.turns), len(u.waiting))
	}
}

// TestAnAttemptThatWasNotLookedAtDoesNotCount.
func TestAnAttemptThatWasNotLookedAtDoesNotCount(t *testing.T) {
	d := newDesk(t, write(t), 1)
	d.turns = make(chan struct{}) // nobody's turn
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, err := d.Verify(ctx, "ann", "correct horse"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if n := d.tallies["ann"].count; n != 0 {
		t.Errorf("%v attempts", n)
	}
}

// TestWhatTheFileSaysIsWhatHolds, and nobody gets in while it says nothing.
func TestWhatTheFileSaysIsWhatHolds(t *testing.T) {
	path := write(t)
	d := newDesk(t, path, 1)
	var log bytes.Buffer
	d.Log = slog.New(slog.NewTextHandler(&log, nil))
	good, err := os.ReadFile(path)
	must(t, err)
	in := func(want bool, problem string) {
		t.Helper()
		d.clock = d.clock.Add(lookEvery)
		_, ok := d.Check("ann", "correct horse")
		err := d.Problem()
		if ok != want || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%v with %v, want %v with %q", ok, err, want, problem)
		}
	}
	in(true, "")
	must(t, os.Chmod(path, 0o644))
	in(false, "can be read by others")
	in(false, "can be read by others")
	must(t, os.Chmod(path, 0o600))
	in(true, "")
	must(t, os.Remove(path))
	in(false, "there is no file")
	must(t, os.WriteFile(path, append(good, "x"...), 0o600))
	in(false, "line 5: has 1 words")
	must(t, os.WriteFile(path, good, 0o600))
	in(true, "")
	if text := log.String(); strings.Count(text, "nobody can use the page") != 3 || strings.Count(text, "can be read again") != 2 {
		t.Error(text)
	}
}

// TestSeveralCheckAtOnce is for the race detector.
func TestSeveralCheckAtOnce(t *testing.T) {
	path := write(t)
	u := read(t, path)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := u.Verify(t.Context(), "ann", "correct horse"); err != nil {
					t.Error(err)
				}
				u.Check("ben", fmt.Sprint("some other words ", i))
				u.List()
				_ = u.Problem()
			}
		})
	}
	wg.Wait()
}
