package dash

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/millrace/millrace/deploy/users"
)

// A visit is a request and who makes it.
type visit struct {
	*http.Request
	user string
	role users.Role
}

// visitor says who makes a request: by HTTP Basic, which needs no page and no
// session of ours. Where nobody is asked it is the server's own user, who may do
// anything. The visit is there beside an error, too, for its page.
func (d *Dash) visitor(r *http.Request) (*visit, error) {
	if d.cfg.Users == nil {
		return &visit{r, d.cfg.Reviewer, users.Approver}, nil
	}
	v := &visit{Request: r}
	if strings.HasPrefix(r.URL.Path, "/ui/static/") { // the error page needs its style
		return v, nil
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return v, d.unknown("Give the name and the password that you have for millrace. Who runs the server adds users by \"millrace users add\".")
	}
	role, err := d.cfg.Users.Verify(r.Context(), name, password)
	if err != nil {
		return v, d.refusal(err)
	}
	v.user, v.role = name, role
	return v, nil
}

// refusal is the page of who is not let in.
func (d *Dash) refusal(err error) error {
	if broken := d.cfg.Users.Problem(); broken != nil {
		d.cfg.Log.Error("nobody gets in", "error", broken)
		return &fault{Status: http.StatusServiceUnavailable, Title: "Nobody gets in", Text: "The file of users cannot be read. The log of the server says why; whoever runs it has to mend it."}
	}
	switch {
	case errors.Is(err, users.ErrWrong):
		return d.unknown("The name or the password is wrong. Load the page again to give others.")
	case errors.Is(err, users.ErrSlow):
		return &fault{Status: http.StatusTooManyRequests, Title: "Too many attempts", Text: "There were many attempts at this name. Wait a minute and load the page again.", RetryAfter: "60"}
	case errors.Is(err, users.ErrBusy):
		return &fault{Status: http.StatusServiceUnavailable, Title: "Busy", Text: "Many give their passwords at once. Load the page again in a moment.", RetryAfter: "5"}
	}
	return err
}

// unknown asks for a name and a password.
func (d *Dash) unknown(text string) error {
	return &fault{
		Status: http.StatusUnauthorized, Title: "Who are you?", Text: text,
		Ask: fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", "millrace "+d.cfg.Project.Name),
	}
}

// lacks says that a visitor's role does not do; empty: it does.
func (v *visit) lacks(needs users.Role) string {
	if users.Allows(v.role, needs) {
		return ""
	}
	return fmt.Sprintf("You may look, and this needs the role %s; yours is %s. Who runs the server can give you another by \"millrace users add\".", needs, v.role)
}
