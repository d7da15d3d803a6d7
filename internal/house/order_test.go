package house

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines     = 600
	maxFunctionLines = 120
)

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	comments := map[string]string{} // by directory and package name
	for name, src := range files(t) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		key := path.Dir(name) + " " + strings.TrimSuffix(f.Name.Name, "_test")
		comments[key] += f.Doc.Text()
	}
	for key, comment := range comments {
		dir, name, _ := strings.Cut(key, " ")
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(comment, want) {
			t.Errorf("%s: the package comment begins with %.40q, want %q: say what the package owns and what it must not know", dir, comment, want)
		}
	}
}

// idle names say nothing about what a thing is for.
var idle = regexp.MustCompile(`(^|_)(manager|utils?|helpers?|common)($|_)`)

func TestNamesSaySomething(t *testing.T) {
	for name := range files(t) {
		for part := range strings.SplitSeq(name, "/") {
			if stem := strings.TrimSuffix(part, path.Ext(part)); idle.MatchString(stem) {
				t.Errorf("%s: %q says nothing: name it after what it owns", name, part)
			}
		}
	}
}

// registries are hosts that packages are downloaded from. Which one is used is
// the business of the package tools' own settings, never ours.
var registries = []string{
	"npmjs" + ".org", "npmjs" + ".com", "npmmirror" + ".com", "registry.yarnpkg" + ".com", "npm.pkg" + ".github.com",
	"proxy.golang" + ".org", "sum.golang" + ".org", "goproxy" + ".io", "goproxy" + ".cn",
	"pypi" + ".org", "pythonhosted" + ".org", "crates" + ".io",
}

func TestNoRegistryIsBuiltIn(t *testing.T) {
	for name, data := range files(t) {
		for _, host := range registries {
			if i := bytes.Index(data, []byte(host)); i >= 0 {
				t.Errorf("%s:%d mentions %s: take the registry from the package tool's own settings", name, 1+bytes.Count(data[:i], []byte("\n")), host)
			}
		}
		isLock := strings.Contains(path.Base(name), "lock") || strings.Contains(name, "shrinkwrap")
		if isLock && path.Ext(name) == ".json" && bytes.Contains(data, []byte(`"resolved"`)) {
			t.Errorf("%s has download addresses: remove every \"resolved\", the integrity hashes are enough", name)
		}
	}
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for name, src := range files(t) {
		if path.Ext(name) != ".go" || generated.Match(src) {
			continue
		}
		if n := bytes.Count(src, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d are allowed: find the second noun in it", name, n, maxFileLines)
		}
		for _, long := range longFunctions(t, name, src) {
			t.Error(long)
		}
	}
}

func longFunctions(t *testing.T, name string, src []byte) []string {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("%v", err)
		return nil
	}
	var found []string
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			if n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				found = append(found, fmt.Sprintf("%s: %s has %d lines, at most %d are allowed: give its steps names", name, fn.Name.Name, n, maxFunctionLines))
			}
		}
	}
	return found
}

// files reads the text files that belong to the repository, by slash path from
// its root.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	base := root(t)
	ignored := ignoredDirs(t, base)
	found := map[string][]byte{}
	err := filepath.WalkDir(base, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, full)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" || slices.Contains(ignored, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(full)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's or a test's, gone again
		}
		if err != nil {
			return err
		}
		if !bytes.Contains(data[:min(len(data), 8000)], []byte{0}) {
			found[name] = data
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ignoredDirs are the directories that .gitignore names from the root: "/dir/".
func ignoredDirs(t *testing.T, base string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(base, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "/") && strings.HasSuffix(line, "/") {
			dirs = append(dirs, strings.Trim(line, "/"))
		}
	}
	return dirs
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above " + dir)
		}
		dir = parent
	}
}
