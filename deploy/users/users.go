package users

import (
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"log/slog"
	mrand "math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Limits of names, passwords and files.
const (
	MaxUsers    = 1000
	MaxName     = 64
	MinPassword = 12 // bytes
	MaxPassword = 72 // bytes: bcrypt takes no more
)

const (
	// hashCost is bcrypt's, for a quarter of a second of a processor.
	hashCost = 12

	// Hashes that others have made are taken within these costs: below, guessing is
	// cheap; above, so is keeping the server busy.
	leastCost = 10
	mostCost  = 14
)

// A User is somebody and what they may do.
type User struct {
	Name string
	Role Role
}

// An account is a User with the hash of the password.
type account struct {
	User
	hash string
	cost int
}

// Users are those of a file. Its methods may be called by several goroutines.
type Users struct {
	Log *slog.Logger // of a file that cannot be read any more; nil: none. Set it before the first Check

	mu       sync.Mutex
	accounts map[string]account
	path     string // of Read; empty: of no file
	seen     seen
	looked   time.Time // when the file was looked at last
	problem  error     // of that look

	tallies map[string]*tally // of known names
	others  [1024]tally       // of all other names, by a hash
	right   map[[32]byte]time.Time

	seed      maphash.Seed
	key       [32]byte // of the hashes in right
	turns     chan struct{}
	waiting   chan struct{}
	least     int // cost
	cost      int // of new hashes
	now       func() time.Time
	chance    func() float64 // in [0, 1)
	passwords func(hash, password string) bool
}

func newUsers() *Users {
	u := &Users{
		accounts: map[string]account{}, tallies: map[string]*tally{}, right: map[[32]byte]time.Time{},
		seed: maphash.MakeSeed(), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), waiting: make(chan struct{}, maxWaiting),
		least: leastCost, cost: hashCost, now: time.Now, chance: mrand.Float64, passwords: matches,
	}
	rand.Read(u.key[:]) // ends the process where it fails
	return u
}

func matches(hash, password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// List returns all users by name.
func (u *Users) List() []User {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := make([]User, 0, len(u.accounts))
	for _, a := range u.accounts {
		found = append(found, a.User)
	}
	slices.SortFunc(found, func(x, y User) int { return strings.Compare(x.Name, y.Name) })
	return found
}

// Set adds a user, or gives one that is there another role and password.
func (u *Users) Set(name string, role Role, password string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if _, err := ParseRole(string(role)); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	if err := CheckPassword(name, password); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), u.cost)
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.accounts[name]; !ok && len(u.accounts) >= MaxUsers {
		return fmt.Errorf("users: there are %d, which is all that a file takes; remove some", MaxUsers)
	}
	u.accounts[name] = account{User{name, role}, string(hash), u.cost}
	return nil
}

// Remove removes a user, or returns ErrNotFound.
func (u *Users) Remove(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.accounts[name]; !ok {
		return fmt.Errorf("%w: there is no user %q", ErrNotFound, name)
	}
	delete(u.accounts, name)
	return nil
}

// CheckName says what is wrong with a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the name has %d bytes; the most are %d", len(name), MaxName)
	case strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._@-", r)
	}) || strings.HasPrefix(name, "-"):
		return fmt.Errorf("the name %q has other characters than a to z, 0 to 9, dot, _, @ and -, or begins with -", name)
	}
	return nil
}

// CheckPassword says what is wrong with a password, and never shows it.
func CheckPassword(name, password string) error {
	switch {
	case len(password) < MinPassword:
		return fmt.Errorf("the password has %d bytes; give at least %d, as four words", len(password), MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("the password has %d bytes; the most are %d", len(password), MaxPassword)
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return fmt.Errorf("the password has control characters or bytes that are not UTF-8")
	case strings.Contains(strings.ToLower(password), name) && len(password) < len(name)+MinPassword/2:
		return fmt.Errorf("the password is the name and little else")
	}
	return nil
}
