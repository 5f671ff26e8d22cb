package users

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// quick makes hashing cheap, as the least cost is.
func quick(u *Users) *Users {
	u.least, u.cost = bcrypt.MinCost, bcrypt.MinCost
	return u
}

// write writes a file with ann, an approver, and ben, a viewer, and returns it.
func write(t *testing.T) string {
	t.Helper()
	u := quick(newUsers())
	must(t, u.Set("ann", Approver, "correct horse"))
	must(t, u.Set("ben", Viewer, "battery staple"))
	path := filepath.Join(t.TempDir(), "users")
	must(t, u.Write(path))
	return path
}

// read reads it.
func read(t *testing.T, path string) *Users {
	t.Helper()
	u := quick(newUsers())
	u.path = path
	must(t, u.read())
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoles(t *testing.T) {
	roles := []Role{Viewer, Operator, Approver}
	for i, r := range roles {
		for j, needs := range roles {
			if Allows(r, needs) != (i >= j) {
				t.Errorf("%s may do what needs %s: %v", r, needs, i < j)
			}
		}
		if got, err := ParseRole(string(r)); err != nil || got != r {
			t.Errorf("%s: %s, %v", r, got, err)
		}
	}
	for _, bad := range []Role{"", "admin", "Viewer"} {
		if Allows(bad, Viewer) || Allows(bad, bad) || Allows(Approver, bad) {
			t.Errorf("%q is allowed something", bad)
		}
		if _, err := ParseRole(string(bad)); err == nil || !strings.Contains(err.Error(), "is none of viewer, operator and approver") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	path := write(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	u := read(t, path)
	if got, want := u.List(), []User{{"ann", Approver}, {"ben", Viewer}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for _, c := range []struct {
		name, password string
		role           Role
		ok             bool
	}{
		{"ann", "correct horse", Approver, true},
		{"ben", "battery staple", Viewer, true},
		{"ann", "battery staple", "", false},
		{"ann", "correct horsf", "", false},
		{"ann", "", "", false},
		{"Ann", "correct horse", "", false},
		{"cyd", "correct horse", "", false},
		{"", "correct horse", "", false},
		{"ann", strings.Repeat("x", 73), "", false},
	} {
		for range 2 { // the second time from memory
			if role, ok := u.Check(c.name, c.password); role != c.role || ok != c.ok {
				t.Errorf("%s with %s: %s, %v", c.name, c.password, role, ok)
			}
		}
	}
	text, err := os.ReadFile(path)
	must(t, err)
	if strings.Contains(string(text), "horse") {
		t.Error("the file has a password")
	}
	if err := u.Remove("cyd"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `there is no user "cyd"`) {
		t.Error(err)
	}
	must(t, u.Remove("ann"))
	if _, ok := u.Check("ann", "correct horse"); ok {
		t.Error("ann was removed, and gets in")
	}
}

// TestTheCostOfHashes: those that are made, and those that others may make.
func TestTheCostOfHashes(t *testing.T) {
	u := newUsers()
	if u.cost != 12 || u.least != 10 {
		t.Errorf("%d, and at least %d", u.cost, u.least)
	}
	u.cost = 5
	must(t, u.Set("ann", Viewer, "correct horse"))
	if cost, err := bcrypt.Cost([]byte(u.accounts["ann"].hash)); err != nil || cost != 5 {
		t.Errorf("%d, %v", cost, err)
	}
	for cost, want := range map[int]string{4: "has cost 4; give 10 to 14", 9: "has cost 9", 10: "", 14: "", 15: "has cost 15"} {
		_, err := parse([]byte("ann viewer "+nobody(cost)), leastCost)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %v", cost, err)
		}
	}
}

func TestNamesAndPasswordsThatAreRefused(t *testing.T) {
	u := quick(newUsers())
	for name, want := range map[string]string{
		"":                      "the name is empty",
		strings.Repeat("a", 65): "the name has 65 bytes; the most are 64",
		"Ann":                   `the name "Ann" has other characters than`,
		"ann b":                 "has other characters",
		"ann\n":                 "has other characters",
		"änn":                   "has other characters",
		"-f":                    "or begins with -",
	} {
		if err := u.Set(name, Viewer, "correct horse"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for password, want := range map[string]string{
		"":                       "the password has 0 bytes; give at least 12",
		"hunter2hunt":            "the password has 11 bytes; give at least 12",
		strings.Repeat("x", 73):  "the password has 73 bytes; the most are 72",
		"hunter2\x00hunter2":     "control characters",
		"hunter2\xffhunter2":     "not UTF-8",
		"a.long@name.example":    "the password is the name and little else",
		"A.Long@name.example1":   "the password is the name and little else",
		"a.long@name.example123": "the password is the name and little else",
	} {
		err := u.Set("a.long@name.example", Viewer, password)
		if err == nil || !strings.Contains(err.Error(), want) || len(password) > 8 && strings.Contains(err.Error(), password) {
			t.Errorf("%q: %v", password, err)
		}
	}
	if err := u.Set("ann", "admin", "correct horse"); err == nil || !strings.Contains(err.Error(), `role "admin" is none of`) {
		t.Error(err)
	}
	must(t, u.Set(strings.Repeat("a", 64), Viewer, strings.Repeat("x", 72)))
	must(t, u.Set("a.b_c@d-9", Viewer, "söme wörds"))
	if len(u.List()) != 2 {
		t.Error(u.List())
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	hash := nobody(12)
	for name, c := range map[string]struct{ text, want string }{
		"two words":       {"ann viewer\n", "line 1: has 2 words; give a name, a role and a bcrypt hash"},
		"htpasswd":        {"# x\n\nann:" + hash + "\n", "line 3: has 1 words"},
		"a name":          {"Ann viewer " + hash, `line 1: the name "Ann" has other characters`},
		"a role":          {"ann admin " + hash, `line 1: role "admin" is none of`},
		"a password":      {"ann viewer hunter2hunter2", "line 1: the third word is not a bcrypt hash"},
		"half a hash":     {"ann viewer " + hash[:40], "line 1: the third word is not a bcrypt hash"},
		"no base64":       {"ann viewer " + hash[:30] + "!" + hash[31:], "line 1: the third word is not a bcrypt hash"},
		"cheap":           {"ann viewer " + nobody(9), "line 1: the hash has cost 9; give 10 to 14"},
		"twice":           {"ann viewer " + hash + "\nann approver " + hash, "line 2: ann has a line above; remove one of them"},
		"too many":        {many(hash, 1001), "line 1001: there are more than 1000 users"},
		"too large":       {strings.Repeat("#\n", 300_000), "has more than 524288 bytes; it cannot be a file of users"},
		"a line too long": {strings.Repeat("x", 520_000), "line 1: has 1 words"},
	} {
		path := filepath.Join(t.TempDir(), "users")
		must(t, os.WriteFile(path, []byte(c.text), 0o600))
		_, err := Read(path)
		if err == nil || !strings.HasPrefix(err.Error(), "users: file "+path) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), hash) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "users")
	must(t, os.WriteFile(path, []byte(" # all\n\n"+many(hash, 1000)), 0o600))
	if u, err := Read(path); err != nil || len(u.List()) != 1000 {
		t.Error(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		must(t, os.Chmod(path, mode))
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("can be read by others (mode %04o), who could guess passwords at their leisure; chmod 600 it", mode)) {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if _, err := Read(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Error(err)
	}
	if _, err := Read(path + "2"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `"millrace users add NAME --role approver" makes it`) {
		t.Error(err)
	}
}

func many(hash string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%d viewer %s\n", i, hash)
	}
	return b.String()
}

// TestSeveralEditAtOnce: none of them undoes what another did.
func TestSeveralEditAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := Edit(path, func(u *Users) error { return quickSet(u, fmt.Sprint("user", i)) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u, err := Read(path)
	must(t, err)
	if len(u.List()) != 8 {
		t.Errorf("%v", u.List())
	}
	before, err := os.ReadFile(path)
	must(t, err)
	fault := errors.New("fault")
	err = Edit(path, func(u *Users) error { must(t, u.Remove("user1")); return fault })
	if after, _ := os.ReadFile(path); !errors.Is(err, fault) || !reflect.DeepEqual(before, after) {
		t.Errorf("a change that failed: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// quickSet adds a user with a hash that costs nothing to make.
func quickSet(u *Users, name string) error {
	u.accounts[name] = account{User{name, Viewer}, nobody(12), 12}
	return nil
}

// TestALinkStays, as clusters mount secrets by them.
func TestALinkStays(t *testing.T) {
	path := write(t)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(path, link))
	u := read(t, link)
	must(t, u.Remove("ben"))
	must(t, u.Write(link))
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 || len(read(t, path).List()) != 1 {
		t.Errorf("%v, %v", info, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ann viewer " + nobody(12) + "\n# x\n")
	f.Add("ann\tapprover " + nobody(10))
	f.Fuzz(func(t *testing.T, text string) {
		accounts, err := parse([]byte(text), leastCost)
		if err != nil {
			return
		}
		u := newUsers()
		u.accounts = accounts
		again, err := parse(u.text(), leastCost)
		if err != nil || !reflect.DeepEqual(accounts, again) {
			t.Errorf("%v, %v, want %v", again, err, accounts)
		}
	})
}
