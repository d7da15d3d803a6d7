package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lockEntry is the part of one package-lock.json entry that we read.
type lockEntry struct {
	Version   string    `json:"version"`
	Integrity string    `json:"integrity"`
	InBundle  bool      `json:"inBundle"`
	OS        oneOrMany `json:"os"`
	CPU       oneOrMany `json:"cpu"`
	Libc      oneOrMany `json:"libc"`
	Link      bool      `json:"link"`
}

// oneOrMany is a JSON string or a list of strings.
type oneOrMany []string

// UnmarshalJSON accepts both spellings.
func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// allows says whether a package with this condition is wanted for value. Names
// that begin with "!" exclude.
func (o oneOrMany) allows(value string) bool {
	if slices.Contains(o, "!"+value) {
		return false
	}
	isName := func(s string) bool { return !strings.HasPrefix(s, "!") }
	return slices.Contains(o, value) || !slices.ContainsFunc(o, isName)
}

func parseLock(data []byte) (map[string]lockEntry, error) {
	var lock struct {
		Packages map[string]lockEntry `json:"packages"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("parse package lock: %w", err)
	}
	return lock.Packages, nil
}

// packageName is the npm name in a lock path such as node_modules/a/node_modules/@b/c.
func packageName(lockPath string) string {
	_, name, found := cutLast(lockPath, "node_modules/")
	if !found {
		return lockPath
	}
	return name
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// checkComplete finds packages of the lock that npm left out or took in another
// version. npm drops an optional package silently when its download fails or its
// hash is wrong, and everything that depends on the machine is optional.
func (r recipe) checkComplete(dir string) error {
	entries, err := parseLock(r.lock)
	if err != nil {
		return err
	}
	for _, path := range sortedKeys(entries) {
		e := entries[path]
		if path == "" || !e.OS.allows("linux") || !e.CPU.allows(r.cpu) || !e.Libc.allows("glibc") {
			continue
		}
		if got := installedVersion(filepath.Join(dir, path)); got != e.Version {
			return leftOutError(packageName(path), e.Version, got)
		}
	}
	return nil
}

func leftOutError(name, want, got string) error {
	found := "it is missing"
	if got != "" {
		found = "found " + got
	}
	return &Error{
		Reason:  ReasonIntegrity,
		Message: fmt.Sprintf("refusing the download: %s@%s did not arrive with its pinned hash (%s)", name, want, found),
		Mend:    "start again, and if it stays so check the registry or mirror that npm uses (`npm config get registry`)",
	}
}

func installedVersion(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return ""
	}
	var p struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(data, &p) != nil {
		return ""
	}
	return p.Version
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
