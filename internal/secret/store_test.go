package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func put(t *testing.T, s *Store, name, value string) {
	t.Helper()
	if err := s.Put(name, value); err != nil {
		t.Fatalf("Put(%s): %v", name, err)
	}
}

func wantValue(t *testing.T, s *Store, name, want string) {
	t.Helper()
	v, _, err := s.Get(name)
	if err != nil || v.Reveal() != want {
		t.Fatalf("Get(%s) = %d bytes, %v; want %d bytes", name, len(v.Reveal()), err, len(want))
	}
}

func TestASecretIsKeptSealed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := open(t, dir, Options{Now: func() time.Time { return clock }})
	if err := s.PutBound("ANTHROPIC_API_KEY", plain, Binding{Hosts: []string{"api.anthropic.com:443"}}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "main/TELEGRAM_BOT_TOKEN", "123:abc\n\x00\xff")
	created := clock
	clock = clock.Add(time.Hour)
	if err := s.PutBound("ANTHROPIC_API_KEY", plain+"2", Binding{Hosts: []string{"api.anthropic.com"}}); err != nil {
		t.Fatal(err)
	}

	again := open(t, dir, Options{})
	wantValue(t, again, "ANTHROPIC_API_KEY", plain+"2")
	wantValue(t, again, "main/TELEGRAM_BOT_TOKEN", "123:abc\n\x00\xff")
	list, err := again.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("List() = %v, %v; want two", list, err)
	}
	if first := list[0]; first.Name != "ANTHROPIC_API_KEY" || !first.Created.Equal(created) || !first.Updated.Equal(clock) || !first.Allows("api.anthropic.com") {
		t.Errorf("List()[0] = %+v", first)
	}
	if text := fmt.Sprintf("%+v", list); strings.Contains(text, plain) {
		t.Errorf("List shows a value: %s", text)
	}
	for _, name := range []string{sealedName, keyName, lockName} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", name, info.Mode(), err)
		}
		if data, _ := os.ReadFile(path); bytes.Contains(data, []byte(plain)) || bytes.Contains(data, []byte("ANTHROPIC")) {
			t.Errorf("%s shows what it should hide", name)
		}
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("directory mode %v, want 0700", info.Mode())
	}
	if err := again.Remove("ANTHROPIC_API_KEY"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get("ANTHROPIC_API_KEY"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed by another Store, still there: %v", err)
	}
	if err := again.Remove("ANTHROPIC_API_KEY"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestAnAgentsOwnSecretComesFirst(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, "KEY_A", "for all")
	put(t, s, "work/KEY_A", "for work")
	for agent, want := range map[string]string{"work": "for work", "main": "for all"} {
		if v, _, err := s.Lookup(agent, "KEY_A"); err != nil || v.Reveal() != want {
			t.Errorf("Lookup(%s) = %q, %v; want %q", agent, v.Reveal(), err, want)
		}
	}
	if _, _, err := s.Lookup("main", "KEY_B"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Lookup of nothing: %v", err)
	}
}

func TestASecretStaysBound(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	hosts := func(name, want string) {
		t.Helper()
		if _, info, err := s.Get(name); err != nil || strings.Join(info.Hosts, " ") != want {
			t.Errorf("%s is bound to %q, %v; want %q", name, info.Hosts, err, want)
		}
	}
	put(t, s, "main/ANTHROPIC_API_KEY", "one")
	hosts("main/ANTHROPIC_API_KEY", "api.anthropic.com")
	if err := s.PutBound("main/ANTHROPIC_API_KEY", "two", Binding{Hosts: []string{"llm.example.com"}}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "main/ANTHROPIC_API_KEY", "three")
	hosts("main/ANTHROPIC_API_KEY", "llm.example.com")
	put(t, s, "MY_OWN", "value")
	hosts("MY_OWN", "")
}

func TestBadNamesAndValuesAreRefused(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, name := range []string{"", "lower", "1X", "A-B", "A B", "/A", "Main/A", "a/b/C", "A/", "-a/B", "../A", "A\n", strings.Repeat("A", 65), plain} {
		err := s.Put(name, "value")
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("Put(%q): %v, want ErrInvalid", name, err)
		} else if strings.Contains(err.Error(), plain) {
			t.Errorf("the error quotes what may be a secret: %v", err)
		}
	}
	if err := s.Put("A", ""); err == nil {
		t.Error("an empty value was kept")
	}
	if err := s.Put("A", strings.Repeat("x", MaxValue+1)); err == nil {
		t.Error("an oversized value was kept")
	}
	if err := s.PutBound("A", "value", Binding{Hosts: []string{"no host"}}); err == nil {
		t.Error("a bad binding was kept")
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("List() = %v, %v; want nothing", list, err)
	}
	put(t, s, strings.Repeat("A", 64), strings.Repeat("x", MaxValue))
	wantValue(t, s, strings.Repeat("A", 64), strings.Repeat("x", MaxValue))
}

func TestAReadableKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir, Options{}), "A", plain)
	key := filepath.Join(dir, keyName)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "chmod 600 "+key) {
			t.Errorf("mode %o: %v, want a refusal with the remedy", mode, err)
		}
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	wantValue(t, open(t, dir, Options{}), "A", plain)
}

func TestDamageIsReportedAndNeverOverwritten(t *testing.T) {
	otherDir := t.TempDir()
	put(t, open(t, otherDir, Options{}), "A", "of another store")
	other, err := os.ReadFile(filepath.Join(otherDir, sealedName))
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"torn":        func(b []byte) []byte { return b[:len(b)-20] },
		"empty":       func([]byte) []byte { return nil },
		"flipped":     func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
		"header only": func(b []byte) []byte { return b[:100] },
		"longer":      func(b []byte) []byte { return append(b, 'x') },
		"other key":   func([]byte) []byte { return other },
		"not age":     func([]byte) []byte { return []byte("hello") },
		"huge":        func([]byte) []byte { return make([]byte, 3*maxFile) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			put(t, s, "A", plain)
			path := filepath.Join(dir, sealedName)
			sealed, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := damage(slices.Clone(sealed))
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, errOpen := Open(dir, Options{})
			_, _, errGet := s.Get("A")
			for what, err := range map[string]error{"Open": errOpen, "Get": errGet, "Put": s.Put("B", "value"), "Remove": s.Remove("A")} {
				if err == nil || strings.Contains(err.Error(), plain) {
					t.Errorf("%s: %v, want a clear error", what, err)
				}
				if name != "huge" && !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: %v, want ErrDamaged", what, err)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
				t.Errorf("the damaged file was changed: %v", err)
			}
			if err := os.WriteFile(path, sealed, 0o600); err != nil {
				t.Fatal(err)
			}
			wantValue(t, s, "A", plain)
		})
	}
}

func TestALostKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir, Options{}), "A", plain)
	key := filepath.Join(dir, keyName)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), key) {
		t.Errorf("Open without the key: %v", err)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a new key was made over sealed secrets")
	}
	for _, text := range []string{"", "garbage", "AGE-SECRET-KEY-1GARBAGE"} {
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("Open with the key %q: %v", text, err)
		}
	}
}

func TestStoreUnderAPassphrase(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "pass")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := Options{PassphraseFile: file("correct horse\nsecond line\n"), cost: 2}
	put(t, open(t, dir, right), "A", plain)
	wantValue(t, open(t, dir, right), "A", plain)
	wantValue(t, open(t, dir, Options{Prompt: func() (string, error) { return "correct horse", nil }}), "A", plain)

	for what, o := range map[string]Options{
		"nobody to ask":   {},
		"wrong file":      {PassphraseFile: file("wrong horse")},
		"wrong answer":    {Prompt: func() (string, error) { return "wrong horse", nil }},
		"no answer":       {Prompt: func() (string, error) { return "", nil }},
		"empty file":      {PassphraseFile: file("\n")},
		"no such file":    {PassphraseFile: filepath.Join(dir, "none")},
		"file too long":   {PassphraseFile: file(strings.Repeat("x", maxPassphrase+1))},
		"not only blanks": {PassphraseFile: file("")},
	} {
		if _, err := Open(dir, o); !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %v, want ErrPassphrase", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, keyName)); err == nil {
		t.Error("there is a key file without passphrase")
	}
	plainDir := t.TempDir()
	open(t, plainDir, Options{})
	if _, err := Open(plainDir, right); err == nil || !strings.Contains(err.Error(), "MOLTWORKER_PASSPHRASE_FILE") {
		t.Errorf("a passphrase for a store without one: %v", err)
	}
}

func TestChangesFromEverywhereAreAllKept(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 4, 8
	var wg sync.WaitGroup
	for w := range writers {
		s := open(t, dir, Options{})
		for i := range each {
			wg.Go(func() {
				name := fmt.Sprintf("W%d_%d", w, i)
				if err := s.Put(name, name); err != nil {
					t.Errorf("Put(%s): %v", name, err)
				}
				if v, _, err := s.Get(name); err != nil || v.Reveal() != name {
					t.Errorf("Get(%s) = %q, %v", name, v.Reveal(), err)
				}
			})
		}
	}
	cmd := child(t, "putmany", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the other process: %v\n%s", err, out)
	}
	wg.Wait()
	list, err := open(t, dir, Options{}).List()
	if err != nil || len(list) != writers*each+each {
		t.Errorf("%d secrets were kept, %v; want %d", len(list), err, writers*each+each)
	}
}

func TestLeftoversOfAKilledWriterDoNoHarm(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	put(t, s, "A", plain)
	tmp := filepath.Join(dir, sealedName+".tmp")
	if err := os.WriteFile(tmp, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, s, "B", plain)
	wantValue(t, open(t, dir, Options{}), "A", plain)
	if _, err := os.Stat(tmp); err == nil {
		t.Error("the leftover is still there")
	}
}

func TestGenerateToken(t *testing.T) {
	a, b := GenerateToken(), GenerateToken()
	if a == b || len(a) < 32 || strings.Trim(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("tokens %q and %q", a, b)
	}
}

// child is this test program again, in the role of another process.
func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMain$")
	cmd.Env = append(os.Environ(), "SECRET_TEST_ROLE="+role, "SECRET_TEST_DIR="+dir)
	return cmd
}

func TestDerivedKeysDifferAndStay(t *testing.T) {
	dir := t.TempDir()
	derive := func(s *Store, purpose string) string {
		key, err := s.Derive(purpose)
		if err != nil || len(key) != 32 {
			t.Fatalf("%d bytes, %v", len(key), err)
		}
		return string(key)
	}
	one := open(t, dir, Options{})
	if derive(one, "a") == derive(one, "b") {
		t.Error("two purposes share a key")
	}
	if derive(one, "a") != derive(open(t, dir, Options{}), "a") {
		t.Error("the key changes with the process")
	}
	if derive(one, "a") == derive(open(t, t.TempDir(), Options{}), "a") {
		t.Error("two stores share a key")
	}
}
