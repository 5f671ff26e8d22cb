package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/millrace/millrace/deploy/users"
)

type usersCmd struct {
	Add    usersAddCmd    `cmd:"" help:"Add a user, or give one another role and password."`
	List   usersListCmd   `cmd:"" help:"List the users."`
	Remove usersRemoveCmd `cmd:"" help:"Remove a user."`
}

func (usersCmd) Help() string {
	return `The page asks for a name and a password where the project file names a file of users:

	http:
	  users_file: users

and it must do so where it can be reached from other machines. A viewer looks; an operator acknowledges alarms, too; an approver approves, rejects and rolls back models, too.

The file is for its owner alone and has hashes of the passwords, bcrypt's. A running server sees within a second what has changed in it.`
}

// usersFlag says which file.
type usersFlag struct {
	projectFlag
	File string `short:"f" placeholder:"FILE" help:"The file of users. The default is http.users_file of the project file."`
}

func (f usersFlag) path() (string, error) {
	if f.File != "" {
		return f.File, nil
	}
	p, err := f.load()
	switch {
	case err != nil:
		return "", err
	case p.HTTP.UsersFile == "":
		return "", usagef("the project file names no file of users; add users_file: users under http:, or name one with -f")
	}
	return p.HTTP.UsersFile, nil
}

type usersAddCmd struct {
	usersFlag
	Name    string `arg:"" placeholder:"NAME" help:"The name: a to z, 0 to 9, dot, _, @ and -."`
	Role    string `required:"" placeholder:"ROLE" help:"What the user may do: viewer, operator or approver."`
	Stdin   bool   `help:"Read the password from the standard input, up to the end of its first line, instead of asking for it."`
	Replace bool   `help:"Change the role and the password of a user who is there."`
}

func (usersAddCmd) Help() string {
	return `Asks for the password twice and does not show it. It has 12 bytes at least. The file is made where there is none.

Examples:

	millrace users add ann --role approver
	pass show millrace/ben | millrace users add ben --role viewer --stdin`
}

func (c *usersAddCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	role, err := users.ParseRole(c.Role)
	if err == nil {
		err = users.CheckName(c.Name)
	}
	if err != nil {
		return usageError{err}
	}
	// Before the password is asked for.
	u, err := users.Read(path)
	if err == nil {
		err = c.mayAdd(u)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	password, err := c.password(ctx, a)
	if err != nil {
		return err
	}
	if err := users.CheckPassword(c.Name, password); err != nil {
		return usageError{err}
	}
	err = users.Edit(path, func(u *users.Users) error {
		if err := c.mayAdd(u); err != nil {
			return err
		}
		return u.Set(c.Name, role, password)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s is %s in %s\n", c.Name, article(role), path)
	return nil
}

func article(r users.Role) string {
	if r == users.Viewer {
		return "a " + string(r)
	}
	return "an " + string(r)
}

// mayAdd refuses a user who is there unless the role and password are to change.
func (c *usersAddCmd) mayAdd(u *users.Users) error {
	for _, one := range u.List() {
		if one.Name == c.Name && !c.Replace {
			return usagef("%s is there already, as %s; --replace gives another role and password", c.Name, article(one.Role))
		}
	}
	return nil
}

func (c *usersAddCmd) password(ctx context.Context, a *app) (string, error) {
	if c.Stdin {
		return firstLine(a.stdin)
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usagef("the standard input is no terminal to ask for the password at; give it there, and say --stdin")
	}
	first, err := ask(ctx, a, in, "Password of "+c.Name+": ")
	if err == nil {
		err = users.CheckPassword(c.Name, first)
	}
	if err != nil {
		return "", err
	}
	second, err := ask(ctx, a, in, "Once more: ")
	if err == nil && second != first {
		err = errors.New("the two are not the same; nothing was changed")
	}
	return first, err
}

// ask reads a line from a terminal without showing it.
func ask(ctx context.Context, a *app, in *os.File, prompt string) (string, error) {
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(a.stderr, prompt)
	type answer struct {
		text []byte
		err  error
	}
	// A read of a terminal cannot be ended, so that nobody waits for this one after
	// a signal: the command ends, and it with it.
	read := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(int(in.Fd()))
		read <- answer{text, err}
	}()
	defer fmt.Fprintln(a.stderr)
	select {
	case <-ctx.Done():
		return "", errors.Join(errors.New("ended; nothing was changed"), term.Restore(int(in.Fd()), before))
	case got := <-read:
		if errors.Is(got.err, io.EOF) {
			return "", errors.New("no password was given; nothing was changed")
		}
		return string(got.text), got.err
	}
}

// firstLine is the input up to its first end of a line.
func firstLine(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, 4<<10))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

type usersListCmd struct {
	usersFlag
	JSON bool `help:"Print a JSON object: {\"users\": [{\"name\", \"role\"}, ...]}."`
}

func (c *usersListCmd) Run(a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	u, err := users.Read(path)
	if err != nil {
		return err
	}
	type row struct {
		Name string     `json:"name"`
		Role users.Role `json:"role"`
	}
	rows := []row{}
	for _, one := range u.List() {
		rows = append(rows, row{one.Name, one.Role})
	}
	if c.JSON {
		return a.printJSON(struct {
			Users []row `json:"users"`
		}{rows})
	}
	if len(rows) == 0 {
		fmt.Fprintf(a.stdout, "%s has no users; \"millrace users add NAME --role approver\" adds one\n", path)
		return nil
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tROLE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\n", r.Name, r.Role)
	}
	return t.Flush()
}

type usersRemoveCmd struct {
	usersFlag
	Name string `arg:"" placeholder:"NAME" help:"The name."`
}

func (usersRemoveCmd) Help() string {
	return `A running server lets the user do nothing more within a second.

Example:

	millrace users remove ben`
}

func (c *usersRemoveCmd) Run(a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // Edit would make it
		return fmt.Errorf("users: there is no file %s", path)
	}
	approvers := 0
	err = users.Edit(path, func(u *users.Users) error {
		if err := u.Remove(c.Name); err != nil {
			return err
		}
		for _, one := range u.List() {
			if one.Role == users.Approver {
				approvers++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s is removed from %s\n", c.Name, path)
	if approvers == 0 {
		fmt.Fprintln(a.stdout, "nobody is left who may approve on the page")
	}
	return nil
}
