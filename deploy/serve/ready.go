package serve

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/features/online"
)

const storeWait = 2 * time.Second

// uses are what /readyz can be asked about with ?for, once or several times: what
// else is wrong does not count then. Lookups need the online store alone, and
// predictions go on for a while without the log.
var uses = map[string]func(*Server, context.Context) []string{
	"lookups":     (*Server).storeProblems,
	"predictions": (*Server).predictionProblems,
	"events":      (*Server).eventProblems,
}

// readyz answers 200, or 503 with what is wrong.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeWait)
	defer cancel()
	var problems []string
	wanted := r.URL.Query()["for"]
	for i, use := range wanted {
		of := uses[use]
		if of == nil || i >= len(uses) {
			return badRequest("for=%s is not what a server can be ready for; give for=lookups, for=predictions or for=events, each once, or nothing for all there is", short(use))
		}
		problems = append(problems, of(s, ctx)...)
	}
	if len(wanted) == 0 {
		problems = s.allProblems(ctx)
	}
	if len(problems) == 0 {
		writeJSON(w, http.StatusOK, []byte(`{"status":"ready"}`))
		return nil
	}
	p := unavailable(nil, "not ready: %d problems", len(problems))
	p.told = true // by the pipeline, and by the lookups that fail
	p.extra = append(p.extra, `"problems":[`...)
	for i, line := range problems {
		if i > 0 {
			p.extra = append(p.extra, ',')
		}
		p.extra = appendText(p.extra, line)
	}
	p.extra = append(p.extra, ']')
	return p
}

func (s *Server) allProblems(ctx context.Context) (problems []string) {
	if s.cfg.Problems != nil {
		problems = s.cfg.Problems()
	}
	return append(append(problems, s.modelProblems()...), s.storeProblems(ctx)...)
}

// storeProblems says why lookups fail.
func (s *Server) storeProblems(ctx context.Context) []string {
	space := s.cfg.Project
	if len(s.cfg.Plans) > 0 {
		space = s.cfg.Plans[0].Space(s.cfg.Project)
	}
	if _, err := s.cfg.Store.State(ctx, online.Shard{Space: space}); err != nil {
		return []string{fmt.Sprintf("the online store cannot be read: %v; see that it runs and can be reached", err)}
	}
	return nil
}

// spoolRoom is how much room a spool has, one part of so many, while predictions can
// be taken without the log.
const spoolRoom = 10

// predictionProblems says why predictions fail or are not those of the version that
// should answer. A log that is away is none of it while the spool has room.
func (s *Server) predictionProblems(ctx context.Context) []string {
	problems := s.storeProblems(ctx)
	if s.cfg.Models == nil {
		return problems // one probe serves projects with and without models
	}
	problems = append(problems, s.cfg.Models.Problems()...)
	if n, size, _ := s.cfg.Spool.Waiting(); n > 0 && size > s.cfg.Spool.most-s.cfg.Spool.most/spoolRoom {
		problems = append(problems, fmt.Sprintf("the spool is almost full: %d predictions, %d KiB of %d, wait for the log", n, size>>10, s.cfg.Spool.most>>10))
	}
	return problems
}

// eventProblems says why the log takes no events.
func (s *Server) eventProblems(context.Context) []string {
	if s.cfg.LogProblems != nil {
		return s.cfg.LogProblems()
	}
	if s.cfg.Problems != nil {
		return s.cfg.Problems()
	}
	return nil
}
