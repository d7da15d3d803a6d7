package openclaw

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// record is what the last Merge rendered, by which the next one tells a default
// of ours from an edit of the user's.
type record struct {
	Version  int            `json:"version"`
	Defaults map[string]any `json:"defaults"` // by dotted path
	Origins  []string       `json:"allowedOrigins"`
}

var primaryPath = []string{"agents", "defaults", "model", "primary"}

// Merge brings an agent's openclaw.json up to what the host wants and keeps all
// else: comments, layout, unknown keys. current is the file (empty when there is
// none), previous the record of the last Merge (empty at the first); next is the
// file to write, byte for byte current when nothing changes, and newRecord is to
// be kept on the host for the next time.
//
// A file that cannot be read gives a *ConfigError and nothing to write.
func Merge(current, previous []byte, s Settings) (next, newRecord []byte, err error) {
	r, err := s.render()
	if err != nil {
		return nil, nil, err
	}
	doc, err := parseDocument(current)
	if err != nil {
		return nil, nil, err
	}
	old := parseRecord(previous)
	now := record{Version: 1, Defaults: map[string]any{}, Origins: r.origins}
	for _, k := range r.owned {
		doc.set(k.path, k.value)
	}
	doc.removeForeign(r.providers)
	doc.mergeOrigins(r.origins, old.Origins)
	for _, k := range r.defaults {
		doc.setDefault(strings.Join(k.path, "."), k.path, k.value, old, now)
	}
	doc.setPrimary(r, old, now)
	newRecord, err = json.Marshal(now)
	if err != nil {
		return nil, nil, fmt.Errorf("record rendered configuration: %w", err)
	}
	if !doc.changed {
		return current, newRecord, nil
	}
	return doc.root.Pack(), newRecord, nil
}

// parseRecord reads a record; one that is missing or damaged knows nothing, and
// so takes every value for the user's.
func parseRecord(data []byte) record {
	var r record
	if json.Unmarshal(data, &r) != nil || r.Version != 1 {
		return record{}
	}
	return r
}

// setDefault renders a key unless the user has a value of their own there. name
// is the key's in the record.
func (d *document) setDefault(name string, path []string, want any, old, now record) {
	last, had := old.Defaults[name]
	v := d.get(path...)
	theirs := v != nil && !equal(v, want) && !(had && reflect.DeepEqual(decode(v), last))
	if theirs || d.blocked(path...) {
		if had {
			now.Defaults[name] = last
		}
		return
	}
	d.set(path, want)
	now.Defaults[name] = want
}

// setPrimary renders the primary model as a default, except that a model of ours
// which is no longer there is always replaced. OpenClaw also takes a bare string
// for the whole model setting.
func (d *document) setPrimary(r rendered, old, now record) {
	path := primaryPath
	whole := primaryPath[:3]
	if v := d.get(whole...); v != nil && v.Value.Kind() == '"' {
		path = whole
	}
	if v := d.get(path...); v != nil {
		if ref, ok := decode(v).(string); ok && isGone(ref, r.providers) {
			d.set(path, r.primary)
		}
	}
	d.setDefault(strings.Join(primaryPath, "."), path, r.primary, old, now)
}

// removeForeign removes providers of ours that are not rendered any more.
func (d *document) removeForeign(providers []Provider) {
	for _, id := range ourProviders {
		if !slices.ContainsFunc(providers, func(p Provider) bool { return p.ID == id }) {
			d.remove([]string{"models", "providers"}, id)
		}
	}
}

var originsPath = []string{"gateway", "controlUi", "allowedOrigins"}

// mergeOrigins keeps the user's origins and adds ours; those that were ours the
// last time and no longer are go.
func (d *document) mergeOrigins(ours, before []string) {
	v := d.get(originsPath...)
	if v == nil && len(ours) == 0 {
		return
	}
	want := []string{}
	for _, o := range append(stringList(v), ours...) {
		stale := slices.Contains(before, o) && !slices.Contains(ours, o)
		if !stale && !slices.Contains(want, o) {
			want = append(want, o)
		}
	}
	d.set(originsPath, want)
}

// stringList gives the strings of a list; nothing for anything else.
func stringList(v *hujson.Value) (list []string) {
	if v == nil {
		return nil
	}
	raw, _ := decode(v).([]any)
	for _, e := range raw {
		if s, ok := e.(string); ok {
			list = append(list, s)
		}
	}
	return list
}
