package dash

import (
	"net/url"
	"strconv"
	"strings"
)

// perPage is how many rows a list has at most.
const perPage = 50

// A pager is where in a list a page is, for {{template "pager" .}}.
type pager struct {
	Search      string // what the list was searched for: ?q=
	Page, Pages int    // from 1
	Total       int
	From, To    int // of the rows shown, from 1
	Prev, Next  string
}

// paging reads ?page= of an address and says which rows of total a list shows:
// rows[p.From-1 : p.To] where there are any.
func paging(u *url.URL, total int) pager {
	q := u.Query()
	p := pager{Search: search(u), Page: 1, Pages: max(1, (total+perPage-1)/perPage), Total: total}
	if n, err := strconv.Atoi(q.Get("page")); err == nil {
		p.Page = min(max(n, 1), p.Pages)
	}
	p.From, p.To = (p.Page-1)*perPage+1, min(p.Page*perPage, total)
	to := func(n int) string {
		q.Set("page", strconv.Itoa(n))
		return u.Path + "?" + q.Encode()
	}
	if p.Page > 1 {
		p.Prev = to(p.Page - 1)
	}
	if p.Page < p.Pages {
		p.Next = to(p.Page + 1)
	}
	return p
}

// shown returns the rows of a list that its page shows.
func shown[T any](rows []T, p *pager) []T {
	if len(rows) == 0 {
		return nil
	}
	return rows[p.From-1 : p.To]
}

// search is what a list is searched for, at most 200 bytes of it.
func search(u *url.URL) string {
	q := strings.TrimSpace(u.Query().Get("q"))
	return strings.ToValidUTF8(q[:min(len(q), 200)], "")
}

// matches reports whether a name has what is searched for in it, in any case.
func matches(name, search string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(search))
}
