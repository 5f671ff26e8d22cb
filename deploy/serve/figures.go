package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/millrace/millrace/deploy/observe"
)

// models answers GET /v1/models: what is loaded of each model.
func (s *Server) models(w http.ResponseWriter, _ *http.Request) error {
	out := []byte(`{"models":[`)
	if s.cfg.Models != nil {
		for i, x := range s.cfg.Models.models {
			if i > 0 {
				out = append(out, ',')
			}
			out = x.appendLoaded(out)
		}
	}
	writeJSON(w, http.StatusOK, append(out, "]}"...))
	return nil
}

// appendLoaded appends what is loaded of a model.
func (x *model) appendLoaded(dst []byte) []byte {
	now := x.loaded.Load()
	dst = appendText(append(dst, `{"name":`...), x.Name)
	dst = appendText(append(dst, `,"task":`...), string(x.Task))
	dst = appendText(append(dst, `,"set":`...), x.set)
	dst = now.champion.append(append(dst, `,"champion":`...))
	dst = append(dst, `,"shadow":`...)
	if now.shadow == nil {
		dst = append(dst, "null"...)
	} else {
		dst = now.shadow.append(dst)
	}
	dst = appendFloat(append(dst, `,"base_rate":{"value":`...), now.base.Value)
	dst = strconv.AppendInt(append(dst, `,"labels":`...), now.base.Count, 10)
	dst = strconv.AppendInt(append(dst, `},"revision":`...), now.revision, 10)
	dst = append(dst, `,"since":`...)
	if now.since.IsZero() {
		dst = append(dst, "null"...)
	} else {
		dst = appendTime(dst, now.since.UnixMicro())
	}
	dst = append(dst, `,"problems":[`...)
	if p := x.problem.Load(); p != nil {
		dst = appendText(dst, *p)
	}
	return append(dst, "]}"...)
}

func (s *side) append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"version":`...), int64(s.version), 10)
	if s.bundle != nil {
		dst = appendText(append(dst, `,"bundle":`...), s.bundle.ID())
	}
	return append(dst, '}')
}

// join answers GET /v1/join.
func (s *Server) join(w http.ResponseWriter, r *http.Request) error {
	stats, err := s.cfg.JoinStats(r.Context())
	if err != nil {
		return unavailable(err, "the join's counts cannot be read; see that the online store runs, then ask again")
	}
	body, err := json.Marshal(stats)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

// modelProblems says which models are not served as they should be, and whether
// predictions wait for the log.
func (s *Server) modelProblems() (lines []string) {
	if s.cfg.Models == nil {
		return nil
	}
	lines = s.cfg.Models.Problems()
	if n, size, why := s.cfg.Spool.Waiting(); n > 0 {
		line := fmt.Sprintf("%d predictions wait in the spool, %d KiB of %d, until the log takes them", n, size>>10, s.cfg.Spool.most>>10)
		if why != nil {
			line += ": " + why.Error()
		}
		lines = append(lines, line)
	}
	if n, why := s.cfg.Spool.Apart(); n > 0 {
		lines = append(lines, fmt.Sprintf("%d predictions of the spool are kept apart, for the log refuses them; mend what follows, and start again, which tries them once more: %v", n, why))
	}
	return lines
}

// figures are what is measured of models.
func (s *Server) figures() observe.Serving {
	var f observe.Serving
	n, size, _ := s.cfg.Spool.Waiting()
	f.Waiting, f.Spool, f.Room = int64(n), size, s.cfg.Spool.most
	for _, x := range s.cfg.Models.models {
		now := x.loaded.Load()
		m := observe.Model{Name: x.Name, Version: now.champion.version, Shadow: -1, Swaps: x.swaps.Load(), ShadowFailures: x.shadowFailures.Load()}
		if now.shadow != nil {
			m.Shadow = now.shadow.version
		}
		f.Models = append(f.Models, m)
	}
	return f
}
