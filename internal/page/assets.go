package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed static
var static embed.FS

const staticPath = "/_admin/static/"

// asset is a file that never changes under its path, which names its content.
type asset struct {
	path, kind string
	data       []byte
}

// kinds of files that are served, and as what. Other files of a directory with
// templates in it are not.
var kinds = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
}

var house = sync.OnceValue(func() map[string]asset { return assetsOf(static) })

// assetsOf finds the files to serve, by base name.
func assetsOf(files fs.FS) map[string]asset {
	found := map[string]asset{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		kind, served := kinds[path.Ext(name)]
		if err != nil || d.IsDir() || !served {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		file, ext := path.Base(name), path.Ext(name)
		hashed := strings.TrimSuffix(file, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		found[file] = asset{staticPath + hashed, kind, data}
		return nil
	})
	if err != nil {
		panic(fmt.Errorf("read our own files: %w", err))
	}
	return found
}

// Static serves /_admin/static/: the layout's files, and the scripts, style sheets
// and pictures among more (directories that [NewSet] was given).
func Static(more ...fs.FS) http.Handler {
	byPath := map[string]asset{}
	for _, files := range append([]fs.FS{static}, more...) {
		for _, a := range assetsOf(files) {
			byPath[a.path] = a
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shield(w.Header())
		a, ok := byPath[r.URL.Path]
		switch {
		case !ok:
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "no such file", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "files can only be read", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Set("Content-Type", a.kind)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
		}
	})
}
