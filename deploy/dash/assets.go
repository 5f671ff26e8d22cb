package dash

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
)

//go:embed static
var staticFiles embed.FS

// types are those of the files in static. Not the system's, which differ.
var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// An asset is a file that pages load.
type asset struct {
	content []byte
	kind    string
	sum     string
}

func readAssets() (map[string]*asset, error) {
	files, err := staticFiles.ReadDir("static")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*asset)
	for _, f := range files {
		b, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			return nil, err
		}
		kind := types[path.Ext(f.Name())]
		if kind == "" {
			return nil, fmt.Errorf("static/%s: no type is known for files of this name", f.Name())
		}
		sum := sha256.Sum256(b)
		all[f.Name()] = &asset{b, kind, hex.EncodeToString(sum[:8])}
	}
	return all, nil
}

// asset returns the address of a file, which changes with what is in it.
func (d *Dash) asset(name string) (string, error) {
	a := d.assets[name]
	if a == nil {
		return "", fmt.Errorf("there is no static/%s", name)
	}
	return "/ui/static/" + name + "?v=" + a.sum, nil
}

// static answers with a file. Under an address with its sum it never changes;
// modules that import each other do so without, and are asked for again.
func (d *Dash) static(w http.ResponseWriter, v *visit) error {
	a := d.assets[v.PathValue("name")]
	if a == nil {
		return notFound("There is no file %s.", short(v.PathValue("name"), 100))
	}
	h := w.Header()
	h.Set("ETag", `"`+a.sum+`"`)
	h.Set("Cache-Control", "no-cache")
	if v.URL.Query().Get("v") == a.sum {
		h.Set("Cache-Control", "max-age=31536000, immutable")
	}
	if v.Header.Get("If-None-Match") == `"`+a.sum+`"` {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(a.content)))
	_, _ = w.Write(a.content)
	return nil
}
