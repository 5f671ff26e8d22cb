package dash

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/millrace/millrace/deploy/project"
)

func TestEveryAnswerHasThePolicy(t *testing.T) {
	d, err := New(Config{Project: &project.Project{Name: "shop"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/": 303, "/ui/": 200, "/ui/none": 404, "/ui/static/app.css": 200, "/ui/static/none": 404} {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != status || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("GET %s: %d with policy %q, want %d", path, w.Code, w.Header().Get("Content-Security-Policy"), status)
		}
	}
}
