package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
)

type modelsCmd struct {
	List     modelsListCmd     `cmd:"" help:"List the versions of models, and which serve."`
	Show     modelsShowCmd     `cmd:"" help:"Show all that is known of a version: verdict, reasons, slices, lineage, history."`
	Diff     modelsDiffCmd     `cmd:"" help:"Compare two versions: what they were trained on, how, and how well they did."`
	Approve  modelsApproveCmd  `cmd:"" help:"Let a candidate in review into service."`
	Reject   modelsRejectCmd   `cmd:"" help:"Keep a candidate in review, or approved and not yet begun, out of service."`
	Rollback modelsRollbackCmd `cmd:"" help:"Take the newest rollout of a model back."`
}

func (modelsCmd) Help() string {
	return `"millrace run" trains a candidate whenever enough examples have come, judges it once on what came after, and puts what is approved into service. Each candidate is a version:

	judging --> closed                        the gate did not promote it
	   |
	   +-----> review --> rejected            by a person
	   |          |
	   |          +-----> approved --> shadow --> champion --> retired
	   |                                             |
	   +-----> superseded                            +-------> rolled_back

judging: the rows that it is judged on are being gathered. review: it has beaten the champion, and waits for a person. superseded: another became champion first. shadow: it is asked beside the champion, and nobody sees its answers. champion: it serves; for a while the one before is in shadow, and comes back by itself if answers have become worse. broken: its files could not be loaded. Until there is a champion, the base rate serves, as version 0.

These commands need no server. They work on the file registry.db in the project's data, also while "millrace run" works on it.`
}

// registry opens the registry of the project.
func (f projectFlag) registry() (*project.Project, *registry.Registry, error) {
	p, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	// Looking makes no file.
	if _, err := os.Stat(p.RegistryFile()); errors.Is(err, fs.ErrNotExist) {
		return p, nil, nil
	}
	r, err := registry.Open(p.RegistryFile())
	return p, r, err
}

// withRegistry runs do with the registry of the project, which must have
// something in it.
func (f projectFlag) withRegistry(do func(*project.Project, *registry.Registry) error) error {
	p, r, err := f.registry()
	if err != nil {
		return err
	}
	if r == nil {
		return errors.New(nothingYet(p, "version"))
	}
	defer r.Close()
	return do(p, r)
}

// nothingYet says what will make the first versions or runs.
func nothingYet(p *project.Project, what string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "there is no %s of a model yet", what)
	if len(p.Models) == 0 {
		b.WriteString(", and the project file has no models: describe one under models: first")
		return b.String()
	}
	for _, m := range p.Models {
		every := m.Train.WithDefaults().Every
		fmt.Fprintf(&b, "\nmodel %s: the first candidate is trained after %s, which are predictions whose outcome is known", m.Name, count(int64(every), "example"))
	}
	b.WriteString("\n\"millrace run\" trains while it runs; ask for predictions with POST /v1/predict/MODEL")
	return b.String()
}

// knownModel refuses a name that is neither in the project nor in the registry.
func knownModel(ctx context.Context, p *project.Project, r *registry.Registry, model string) error {
	if p.Model(model) != nil {
		return nil
	}
	events, err := r.History(ctx, model)
	if err != nil || len(events) > 0 {
		return err
	}
	return noModel(p, model)
}

func noModel(p *project.Project, model string) error {
	var names []string
	for _, m := range p.Models {
		names = append(names, m.Name)
	}
	return usagef("there is no model %q; the project has %s", model, cmp.Or(strings.Join(names, ", "), "none"))
}

// A versionArgs names one version.
type versionArgs struct {
	Model   string `arg:"" placeholder:"MODEL" help:"The model."`
	Version int    `arg:"" placeholder:"VERSION" help:"The number of the version, as models list shows it."`
}

// get returns the version, or an error with what there is instead.
func (v versionArgs) get(ctx context.Context, p *project.Project, r *registry.Registry) (registry.Version, error) {
	if err := knownModel(ctx, p, r, v.Model); err != nil {
		return registry.Version{}, err
	}
	found, err := r.Version(ctx, v.Model, v.Version)
	if errors.Is(err, registry.ErrNotFound) {
		return found, fmt.Errorf("model %s has no version %d; \"millrace models list\" shows those that there are", v.Model, v.Version)
	}
	return found, err
}

// A reviewer says who a command acts for.
type reviewer struct {
	As string `placeholder:"NAME" env:"MILLRACE_USER" help:"Who you are, for the history. The default is the name of the system's user. Nobody checks it: who can write the registry may do anything."`
}

func (r reviewer) name() (string, error) {
	if r.As != "" {
		return r.As, nil
	}
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return "", usagef("the system does not say who you are; give your name with --as")
	}
	return u.Username, nil
}

type modelsApproveCmd struct {
	projectFlag
	versionArgs
	reviewer
	Comment string `placeholder:"TEXT" help:"Why, for the history."`
	JSON    bool   `help:"Print the version as a JSON object."`
}

func (modelsApproveCmd) Help() string {
	return `The version must be in review, and somebody else must have made it. "millrace run" then puts it into service by itself: first in shadow, then as champion, watched.

Where the model has reviewers in the project file, only they approve and reject.

Example:

	millrace models approve big_move 3 --comment "better in each symbol"`
}

func (c *modelsApproveCmd) Run(ctx context.Context, a *app) error {
	err := c.decide(ctx, a, c.projectFlag, c.reviewer, c.JSON, "is approved", (*registry.Registry).Approve, c.Comment)
	if err == nil && !c.JSON {
		_, err = fmt.Fprintln(a.stdout, `"millrace run" has it in shadow now, and it serves after as many predictions as rollout.shadow says`)
	}
	return err
}

type modelsRejectCmd struct {
	projectFlag
	versionArgs
	reviewer
	Comment string `placeholder:"TEXT" help:"Why, for the history."`
	JSON    bool   `help:"Print the version as a JSON object."`
}

func (modelsRejectCmd) Help() string {
	return `The version must be in review, or approved and not yet begun. One that is in shadow or serves is taken back by "millrace models rollback".

Example:

	millrace models reject big_move 3 --comment "not on a Friday"`
}

func (c *modelsRejectCmd) Run(ctx context.Context, a *app) error {
	return c.decide(ctx, a, c.projectFlag, c.reviewer, c.JSON, "is rejected", (*registry.Registry).Reject, c.Comment)
}

type decision func(r *registry.Registry, ctx context.Context, model string, number int, who, comment string) error

// decide has a person decide about the version.
func (v versionArgs) decide(ctx context.Context, a *app, flag projectFlag, by reviewer, asJSON bool, outcome string, do decision, comment string) error {
	who, err := by.name()
	if err != nil {
		return err
	}
	return flag.withRegistry(func(p *project.Project, r *registry.Registry) error {
		if err := mayReview(p, v.Model, who); err != nil {
			return err
		}
		if _, err := v.get(ctx, p, r); err != nil {
			return err
		}
		if err := do(r, ctx, v.Model, v.Version, who, comment); err != nil {
			return errors.Join(err, inReview(ctx, r, v.Model))
		}
		if asJSON {
			return showJSON(ctx, a, p, r, v)
		}
		_, err := fmt.Fprintf(a.stdout, "version %d of %s %s by %s\n", v.Version, v.Model, outcome, who)
		return err
	})
}

// mayReview refuses who is not among the model's reviewers.
func mayReview(p *project.Project, model, who string) error {
	m := p.Model(model)
	if m == nil {
		return noModel(p, model)
	}
	if len(m.Reviewers) > 0 && !slices.Contains(m.Reviewers, who) {
		return fmt.Errorf("%s may not review model %s; its reviewers in the project file are %s", who, model, strings.Join(m.Reviewers, ", "))
	}
	return nil
}

// inReview tells, beside an error, which versions could be decided about.
func inReview(ctx context.Context, r *registry.Registry, model string) error {
	waiting, err := r.VersionsIn(ctx, model, registry.Review)
	if err != nil {
		return err
	}
	if len(waiting) == 0 {
		return fmt.Errorf("no version of %s is in review now", model)
	}
	numbers := make([]string, len(waiting))
	for i, v := range waiting {
		numbers[i] = strconv.Itoa(v.Number)
	}
	return fmt.Errorf("in review: %s", strings.Join(numbers, ", "))
}

type modelsRollbackCmd struct {
	projectFlag
	reviewer
	Model string `arg:"" placeholder:"MODEL" help:"The model."`
	Why   string `required:"" placeholder:"TEXT" help:"Why, for the history."`
	JSON  bool   `help:"Print a JSON object: {\"model\", \"version\", \"phase\", \"to\"}; a phase of undone says that it is done already."`
}

func (modelsRollbackCmd) Help() string {
	return `A version in shadow leaves it, and the champion stays. Else the champion makes way for the one before it. "millrace run" does so within a second; where it does not run, as soon as it starts.

Example:

	millrace models rollback big_move --why "complaints since noon"`
}

// A rollbackAnswer says what will be taken back.
type rollbackAnswer struct {
	Model   string         `json:"model"`
	Version int            `json:"version"`
	Phase   registry.Phase `json:"phase"`
	To      int            `json:"to"` // the version that serves then; 0: the base rate
}

func (c *modelsRollbackCmd) Run(ctx context.Context, a *app) error {
	who, err := c.name()
	if err != nil {
		return err
	}
	return c.withRegistry(func(p *project.Project, r *registry.Registry) error {
		if err := knownModel(ctx, p, r, c.Model); err != nil {
			return err
		}
		if err := r.RequestRollback(ctx, c.Model, who, c.Why); err != nil {
			return err
		}
		ro, err := askedFor(ctx, r, c.Model)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(rollbackAnswer{c.Model, ro.Version, ro.Phase, ro.Previous})
		}
		_, err = fmt.Fprintln(a.stdout, sayRollback(ro))
		return err
	})
}

// askedFor returns the rollout that somebody has just asked to undo. Where the
// deployer was quick it is undone already: the last one that is.
func askedFor(ctx context.Context, r *registry.Registry, model string) (registry.Rollout, error) {
	ro, _, _, ok, err := r.RollbackRequested(ctx, model)
	if err != nil || ok {
		return ro, err
	}
	all, err := r.Rollouts(ctx, model)
	for _, x := range all {
		if x.Phase == registry.Undone && x.Ended.After(ro.Ended) {
			ro = x
		}
	}
	return ro, err
}

func sayRollback(ro registry.Rollout) string {
	to := versionName(ro.Previous)
	switch ro.Phase {
	case registry.Undone:
		return fmt.Sprintf("version %d of %s has been taken back, and %s serves", ro.Version, ro.Model, to)
	case registry.InShadow:
		return fmt.Sprintf("version %d of %s will be taken back, and %s stays; \"millrace run\" does it", ro.Version, ro.Model, to)
	}
	return fmt.Sprintf("version %d of %s will be taken back, and %s comes back; \"millrace run\" does it", ro.Version, ro.Model, to)
}

// versionName is a version in a sentence.
func versionName(number int) string {
	if number == registry.BaseRateVersion {
		return "the base rate"
	}
	return fmt.Sprintf("version %d", number)
}
