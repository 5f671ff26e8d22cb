package users

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// maxFile is what MaxUsers with the longest names take, and as much again for
// comments.
const maxFile = 512 << 10

const hashLength = 60

const header = `# Who may use millrace's page: a name, a role and the bcrypt hash of a password.
# "millrace users add" writes such a line.
`

// A seen is what a file was like when it was read: another one is there when any
// of it is otherwise.
type seen struct{ info fs.FileInfo }

func (s seen) same(info fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.info.ModTime().Equal(info.ModTime()) && s.info.Size() == info.Size() && s.info.Mode() == info.Mode()
}

// Read reads a file. It must be readable by its owner alone. Where there is none,
// the error is fs.ErrNotExist, and says how to make one. From then on the users
// are what the file says, whenever Check is asked.
func Read(path string) (*Users, error) {
	u := newUsers()
	u.path = path
	if err := u.read(); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	return u, nil
}

// read replaces the accounts by those in the file.
func (u *Users) read() error {
	accounts, info, err := readFile(u.path, u.least)
	if err != nil {
		return err
	}
	u.accounts, u.seen = accounts, seen{info}
	for name := range u.tallies {
		if _, ok := accounts[name]; !ok {
			delete(u.tallies, name)
		}
	}
	return nil
}

// missing is the path of a file that is not there.
type missing string

func (m missing) Error() string {
	return fmt.Sprintf("there is no file %s; \"millrace users add NAME --role approver\" makes it", string(m))
}

func (m missing) Unwrap() error { return fs.ErrNotExist }

// readAgain reads the file if it is another one than was read.
func (u *Users) readAgain() error {
	if info, err := os.Stat(u.path); err == nil && u.seen.same(info) {
		return nil
	}
	return u.read()
}

func readFile(path string, least int) (map[string]account, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would have us wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, missing(path)
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, nil, fmt.Errorf("file %s can be read by others (mode %04o), who could guess passwords at their leisure; chmod 600 it", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("file %s has more than %d bytes; it cannot be a file of users", path, maxFile)
	}
	accounts, err := parse(data, least)
	if err != nil {
		return nil, nil, fmt.Errorf("file %s: %w", path, err)
	}
	return accounts, info, nil
}

// parse reads the lines of a file. An error names the line, and shows no hash.
func parse(data []byte, least int) (map[string]account, error) {
	accounts := map[string]account{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		a, err := parseLine(line, least)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, twice := accounts[a.Name]; twice {
			return nil, fmt.Errorf("line %d: %s has a line above; remove one of them", n, a.Name)
		}
		if len(accounts) == MaxUsers {
			return nil, fmt.Errorf("line %d: there are more than %d users", n, MaxUsers)
		}
		accounts[a.Name] = a
	}
	return accounts, lines.Err()
}

func parseLine(line string, least int) (account, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return account{}, fmt.Errorf("has %d words; give a name, a role and a bcrypt hash, as \"millrace users add\" does", len(fields))
	}
	a := account{User: User{Name: fields[0]}, hash: fields[2]}
	err := CheckName(a.Name)
	if err == nil {
		a.Role, err = ParseRole(fields[1])
	}
	if err != nil {
		return a, err
	}
	a.cost, err = bcrypt.Cost([]byte(a.hash))
	switch {
	case err != nil || len(a.hash) != hashLength || !isHash(a.hash):
		return a, fmt.Errorf("the third word is not a bcrypt hash, which begins with $2 and has %d characters; \"millrace users add\" makes one", hashLength)
	case a.cost < least || a.cost > mostCost:
		return a, fmt.Errorf("the hash has cost %d; give %d to %d", a.cost, least, mostCost)
	}
	return a, nil
}

// isHash says whether bcrypt can take the salt and the hash, after the seven
// characters of version and cost.
func isHash(hash string) bool {
	return !strings.ContainsFunc(hash[7:], func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '/'
	})
}

// Write writes the users to a file that only its owner may read. Whoever reads it
// meanwhile has the old one or the new one.
func (u *Users) Write(path string) error {
	if err := replace(path, u.text()); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return nil
}

func (u *Users) text() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	lines := make([]string, 0, len(u.accounts))
	for _, a := range u.accounts {
		lines = append(lines, fmt.Sprintf("%s %s %s\n", a.Name, a.Role, a.hash))
	}
	slices.Sort(lines)
	return []byte(header + strings.Join(lines, ""))
}

func replace(path string, data []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // and not the link
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".users-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Edit reads a file, has do change the users, and writes it; where do fails,
// nothing is written, and Edit returns its error. A file that is not there has no
// users. Of several at once each sees what the one before has written. Comments in
// the file are not kept.
func Edit(path string, do func(*Users) error) error {
	var fault error
	err := edit(path, func(u *Users) error {
		fault = do(u)
		return fault
	})
	if err != nil && fault == nil {
		return fmt.Errorf("users: %w", err)
	}
	return fault
}

func edit(path string, do func(*Users) error) error {
	real := path
	if followed, err := filepath.EvalSymlinks(path); err == nil {
		real = followed
	}
	dir, err := os.Open(filepath.Dir(real)) // which stays, where the file is replaced
	if err != nil {
		return err
	}
	defer dir.Close() // and with it the lock
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	u := newUsers()
	u.path = path
	if err := u.read(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := do(u); err != nil {
		return err
	}
	return replace(path, u.text())
}
