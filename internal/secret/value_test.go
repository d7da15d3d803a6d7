package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const plain = "sk-very-secret-value"

func TestValueNeverShowsItself(t *testing.T) {
	v := NewValue(plain)
	type exported struct{ Key Value }
	type unexported struct{ key Value }
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%t", "%08.3f"} {
		shown[verb] = fmt.Sprintf(verb, v)
		shown[verb+" pointer"] = fmt.Sprintf(verb, &v)
		shown[verb+" exported"] = fmt.Sprintf(verb, exported{v})
		shown[verb+" unexported"] = fmt.Sprintf(verb, unexported{v})
		shown[verb+" pointer to unexported"] = fmt.Sprintf(verb, &unexported{v})
		shown[verb+" map"] = fmt.Sprintf(verb, map[string]Value{"k": v})
	}
	asJSON, _ := json.Marshal(map[string]any{"a": v, "b": exported{v}, "c": []Value{v}})
	shown["json"] = string(asJSON)
	asXML, _ := xml.Marshal(exported{v})
	shown["xml"] = string(asXML)
	shown["error"] = fmt.Errorf("no: %w, %v", errors.New("x"), v).Error()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("hello", "v", v, "p", &v, "e", exported{v}, "u", unexported{v})
		shown[name] = b.String()
	}
	hex := fmt.Sprintf("%x", plain)
	for how, text := range shown {
		if strings.Contains(text, plain) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s shows the secret: %s", how, text)
		}
	}
	if got := v.Reveal(); got != plain {
		t.Errorf("Reveal() = %q, want the secret", got)
	}
	if want := `{"Key":"[secret]"}`; jsonOf(t, exported{v}) != want {
		t.Errorf("json = %s, want %s", jsonOf(t, exported{v}), want)
	}
}

func TestUnsetValue(t *testing.T) {
	var v Value
	if v.IsSet() || v.Reveal() != "" || v.String() != "" || NewValue("").IsSet() {
		t.Errorf("the zero Value is set: %v", v)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
