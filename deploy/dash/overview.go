package dash

import "net/http"

func (d *Dash) overview(w http.ResponseWriter, v *visit) error {
	return d.show(w, v, "overview.html", &page{Title: "Overview", Tab: "/ui/"})
}
