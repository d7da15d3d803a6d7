package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// putConfig writes the configuration, and the old one without its secrets beside it.
func (w *writer) putConfig() error {
	if err := w.root.MkdirAll(stateDir, 0o700); err != nil {
		return w.failed("make directory", stateDir, err)
	}
	if w.b.config == nil {
		return nil
	}
	var config, old map[string]any
	for _, c := range []*map[string]any{&config, &old} {
		if err := json.Unmarshal(render(w.b.config), c); err != nil {
			return fmt.Errorf("copy the configuration: %w", err)
		}
	}
	// The old one is for people to look things up in: what may be a secret is not one of them.
	visit(old, nil, func(at []string, v any) any {
		if text, ok := v.(string); ok && isLiteral(text) && isSecretName(at[len(at)-1]) {
			return Placeholder
		}
		return nil
	})
	text := w.configure(config)
	w.noteChannels(config)
	for name, text := range map[string][]byte{"openclaw.json": text, "openclaw.json.imported": render(old)} {
		to := stateDir + "/" + name
		f, err := w.create(to, 0o600)
		if err != nil {
			return err
		}
		got, err := w.scrub.copy(f, bytes.NewReader(text), thorough, to)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
		w.keep(to, got.size)
	}
	return nil
}

// noteChannels warns of channels whose plugin is not in OpenClaw itself.
func (w *writer) noteChannels(config map[string]any) {
	channels, _ := config["channels"].(map[string]any)
	for _, name := range sortedKeys(channels) {
		if name != "telegram" && name != "defaults" && slices.Contains([]string{"discord", "slack", "whatsapp", "signal"}, name) {
			w.warnings.addf("the channel %s needs a plugin since OpenClaw 2026: run `openclaw plugins install @openclaw/%s` in the sandbox, unless it came along", name, name)
		}
	}
}
