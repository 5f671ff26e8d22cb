package dash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/users"
)

// maxComment bounds what a person writes, in bytes: as much as the registry takes.
const maxComment = 4 << 10

// denied says why a visitor may not decide about models; empty: they may.
func (d *Dash) denied(v *visit) string {
	if why := v.lacks(users.Approver); why != "" {
		return why
	}
	return v.nameless()
}

// nameless says that nothing can be put down to a visitor without a name.
func (v *visit) nameless() string {
	if v.user == "" {
		return "The server does not know who you are. Set users_file under http: in the project file, or start it as a user with a name."
	}
	return ""
}

// deniedNote says why a visitor may not acknowledge alarms; empty: they may.
func (d *Dash) deniedNote(v *visit) string { return cmp.Or(v.lacks(users.Operator), v.nameless()) }

// deniedReview says why a visitor may not approve or reject a version.
func (d *Dash) deniedReview(v *visit, of *registry.Version) string {
	if why := d.denied(v); why != "" {
		return why
	}
	m := d.cfg.Project.Model(of.Model)
	switch {
	case m == nil:
		return fmt.Sprintf("Model %s is not in the project file any more.", of.Model)
	case len(m.Reviewers) > 0 && !slices.Contains(m.Reviewers, v.user):
		return fmt.Sprintf("%s may not review model %s. Its reviewers in the project file are %s.", v.user, of.Model, strings.Join(m.Reviewers, ", "))
	case strings.EqualFold(v.user, of.Author):
		return fmt.Sprintf("%s made this version, and another person has to decide about it.", of.Author)
	}
	return ""
}

// forbidden is the error of who may not.
func forbidden(why string) error {
	if why == "" {
		return nil
	}
	return &fault{Status: http.StatusForbidden, Title: "Not allowed", Text: why}
}

// approve lets a candidate into service.
func (d *Dash) approve(w http.ResponseWriter, v *visit) error {
	return d.decide(w, v, "approve", (*registry.Registry).Approve)
}

// reject keeps a candidate out of service.
func (d *Dash) reject(w http.ResponseWriter, v *visit) error {
	return d.decide(w, v, "reject", (*registry.Registry).Reject)
}

type decision func(r *registry.Registry, ctx context.Context, model string, number int, who, comment string) error

// decide has a person decide about a version, by the rules of "millrace models".
func (d *Dash) decide(w http.ResponseWriter, v *visit, what string, do decision) error {
	found, err := d.found(v)
	if err != nil {
		return err
	}
	if err := forbidden(d.deniedReview(v, &found)); err != nil {
		return err
	}
	comment, err := written(v, "comment")
	if err != nil {
		return err
	}
	err = do(d.cfg.Registry, v.Context(), found.Model, found.Number, v.user, comment)
	if err := d.noted(v, what, fmt.Sprintf("%s version %d", found.Model, found.Number), comment, err); err != nil {
		return err
	}
	http.Redirect(w, v.Request, withQuery(modelPath(found.Model, found.Number), "done", what), http.StatusSeeOther)
	return nil
}

// rollback asks for the newest rollout of a model to be undone.
func (d *Dash) rollback(w http.ResponseWriter, v *visit) error {
	name, err := d.known(v)
	if err != nil {
		return err
	}
	if err := forbidden(d.denied(v)); err != nil {
		return err
	}
	why, err := written(v, "why")
	if err != nil {
		return err
	}
	if why == "" {
		return badRequest("A rollback needs a reason, for the history. Go back and write why.")
	}
	err = d.cfg.Registry.RequestRollback(v.Context(), name, v.user, why)
	if err := d.noted(v, "rollback", name, why, err); err != nil {
		return err
	}
	http.Redirect(w, v.Request, withQuery(modelPath(name), "done", "rollback"), http.StatusSeeOther)
	return nil
}

// written returns what a person has written in a field of a form.
func written(v *visit, field string) (string, error) {
	text := strings.TrimSpace(strings.ReplaceAll(v.PostForm.Get(field), "\r\n", "\n"))
	if len(text) > maxComment {
		return "", badRequest("The text has %s; the most are %s. Go back and shorten it.", plural(len(text), "byte"), count(maxComment))
	}
	return text, nil
}

// noted keeps a decision in the audit, and makes a page of what the registry says
// against it. That it was made is in the registry's history, which is what holds.
func (d *Dash) noted(v *visit, what, object, detail string, err error) error {
	d.cfg.Log.Info("a decision on the page", "who", v.user, "what", what, "object", object, "error", err)
	if err == nil {
		d.note(v.Context(), v, what, object, detail)
		return nil
	}
	text := upper(strings.TrimPrefix(err.Error(), "registry: "))
	d.note(v.Context(), v, what+" (refused)", object, text)
	switch {
	case errors.Is(err, registry.ErrConflict):
		return &fault{Status: http.StatusConflict, Title: "Not any more", Text: text + ". Load its page again to see how it stands."}
	case errors.Is(err, registry.ErrRefused):
		return &fault{Status: http.StatusForbidden, Title: "Refused", Text: text + "."}
	}
	return err
}
