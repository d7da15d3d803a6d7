package cache

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// canonical is the canonical form of a document; false when it is kept as bytes.
func canonical(doc string) (string, bool) {
	c := new(canon)
	if !c.read([]byte(doc)) {
		return "", false
	}
	return string(c.form()), true
}

func TestCanonicalForm(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`:                                   `{}`,
		" [ ] \n":                              `[]`,
		`{"b":1,"a":2}`:                        `{"a":2,"b":1}`,
		"{ \"b\" : 1.0 ,\t\"a\" : [ 1 , 2 ] }": `{"a":[1,2],"b":1.0}`,
		`[{"z":{"y":1,"x":[{"b":{},"a":0}]},"a":{"c":1,"b":2}},7]`: `[{"a":{"b":2,"c":1},"z":{"x":[{"a":0,"b":{}}],"y":1}},7]`,
		`{"a":{"d":1,"c":2},"b":" { \" , } "}`:                     `{"a":{"c":2,"d":1},"b":" { \" , } "}`,
		`"\u0061"`:                                                 `"\u0061"`,
		`{"B":1,"a":2}`:                                            `{"a":2,"B":1}`,
		`{"a":1,"ab":2}`:                                           `{"a":1,"ab":2}`, // in order already: a quote comes before letters
		`-1e+5`:                                                    `-1e+5`,
		`{"stream":true }`:                                         `{"stream":true}`,
	} {
		if got, ok := canonical(doc); !ok || got != want {
			t.Errorf("%s: %s, %v; want %s", doc, got, ok, want)
		}
	}
}

func TestDoubtKeepsBytes(t *testing.T) {
	for _, doc := range []string{
		``, ` `, `{`, `[1`, `[1 2]`, `{"a"}`, `{"a":1,}`, `[,]`, `{} {}`, `"a`, `"\"`, `{a:1}`, `[1]]`,
		`{"a":1,"a":2}`, `{"a":1,"b":0,"a":1}`, `{"a":1,"A":2}`, `{"\u0061":1}`, `{"é":1}`, "{\"\xff\":1}",
		"\ufeff{}", strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2),
		`{"` + strings.Repeat("k", maxKey+1) + `":1}`,
	} {
		if got, ok := canonical(doc); ok {
			t.Errorf("%.40q became %.40q", doc, got)
		}
	}
}

func TestBoundsOfMembers(t *testing.T) {
	object := func(n int) string {
		var b strings.Builder
		for i := n; i > 0; i-- {
			fmt.Fprintf(&b, `,"k%06d":0`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	if _, ok := canonical(object(maxMembers)); !ok {
		t.Error("as many members as may be are refused")
	}
	if _, ok := canonical(object(maxMembers + 1)); ok {
		t.Error("too many members are taken")
	}
	// 16 objects of 4096 members that are out of order are 65,536; one more is too much.
	many := strings.Repeat(object(maxMembers)+",", 16)
	if _, ok := canonical("[" + many + "0]"); !ok {
		t.Error("65,536 members are refused")
	}
	if _, ok := canonical("[" + many + `{"b":0,"a":0}]`); ok {
		t.Error("65,538 members are taken")
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add(`{"b":1,"a":[1, 2]}`, `{"a":[1,2],"b":1}`)
	f.Add(`{"a":1,"a":2}`, `{"a":2,"a":1}`)
	f.Add(`{"a":1,"\u0061":2}`, `{"\u0061":2,"a":1}`)
	f.Add(`[1 2]`, `[12]`)
	f.Add(`{"x":{"b":1,"a":{"d":0,"c":"\""}},"a":1.0}`, `1`)
	f.Add("{\"\xff\":1,\"\xfe\":2}", "{\"\xfe\":2,\"\xff\":1}")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, okX := canonical(a)
		y, okY := canonical(b)
		keyA, keyB := (&Request{Body: []byte(a)}).Key(), (&Request{Body: []byte(b)}).Key()
		switch {
		case okX && okY && x == y:
			if keyA != keyB {
				t.Fatalf("%q and %q have the form %q and different keys", a, b, x)
			}
			same(t, a, b)
		case (keyA == keyB) != (a == b):
			t.Fatalf("%q and %q: keys equal %v", a, b, keyA == keyB)
		}
		if !okX {
			return
		}
		if json.Valid([]byte(a)) != json.Valid([]byte(x)) {
			t.Fatalf("%q became %q", a, x)
		}
		same(t, a, x)
		if again, ok := canonical(x); !ok || again != x {
			t.Fatalf("%q is not stable: %q", x, again)
		}
	})
}

// same fails unless both documents are the same to encoding/json, numbers as written.
func same(t *testing.T, a, b string) {
	t.Helper()
	if json.Valid([]byte(a)) != json.Valid([]byte(b)) {
		t.Fatalf("only one of %q and %q is JSON", a, b)
	}
	if !json.Valid([]byte(a)) {
		return // texts or numbers that are none, which are kept as they are
	}
	if x, y := decode(t, a), decode(t, b); !reflect.DeepEqual(x, y) {
		t.Fatalf("%q and %q count as the same", a, b)
	}
}

func decode(t *testing.T, doc string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeysDiffer(t *testing.T) {
	base := Request{Scope: Scope{Name: "ada"}, Method: "POST", Provider: "openai", Path: "/v1/chat/completions", Query: "a=1",
		Credential: "OPENAI_API_KEY", Headers: []string{"openai-beta: x"}, Body: []byte(`{"a":1,"b":[1,2]}`)}
	with := func(f func(*Request)) Request {
		r := base
		f(&r)
		return r
	}
	all := map[string]Request{
		"base":            base,
		"scope":           with(func(r *Request) { r.Scope.Name = "bob" }),
		"shared":          with(func(r *Request) { r.Scope.Shared = true }),
		"method":          with(func(r *Request) { r.Method = "GET" }),
		"provider":        with(func(r *Request) { r.Provider = "groq" }),
		"path":            with(func(r *Request) { r.Path = "/v1/responses" }),
		"query":           with(func(r *Request) { r.Query = "" }),
		"credential":      with(func(r *Request) { r.Credential = "OTHER" }),
		"header":          with(func(r *Request) { r.Headers = nil }),
		"one header more": with(func(r *Request) { r.Headers = []string{"openai-beta: x", "y"} }),
		"body":            with(func(r *Request) { r.Body = []byte(`{"a":1,"b":[2,1]}`) }),
		"number":          with(func(r *Request) { r.Body = []byte(`{"a":1.0,"b":[1,2]}`) }),
		"stream":          with(func(r *Request) { r.Body = []byte(`{"a":1,"b":[1,2],"stream":true}`) }),
		"custom":          with(func(r *Request) { r.Custom = "mine" }),
		"custom is body":  with(func(r *Request) { r.Custom = `{"a":1,"b":[1,2]}` }),
		"moved boundary":  with(func(r *Request) { r.Provider, r.Path = "openai/", "v1/chat/completions" }),
		"in doubt":        with(func(r *Request) { r.Body = []byte(`{"a":1,"b":[1,2],"a":1}`) }),
		"in doubt, order": with(func(r *Request) { r.Body = []byte(`{"a":1,"a":1,"b":[1,2]}`) }),
	}
	seen := map[Key]string{}
	for name, r := range all {
		key := r.Key()
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
	}
	for name, r := range map[string]Request{
		"order": with(func(r *Request) { r.Body = []byte(`{"b":[1,2],"a":1}`) }),
		"space": with(func(r *Request) { r.Body = []byte("{ \"a\" : 1,\n\"b\":[1, 2] }\n") }),
	} {
		if r.Key() != base.Key() {
			t.Errorf("%s changes the key", name)
		}
	}
	x := with(func(r *Request) { r.Custom, r.Body = "mine", []byte("1") })
	y := with(func(r *Request) { r.Custom, r.Body = "mine", []byte("2") })
	if x.Key() != y.Key() {
		t.Error("the body counts beside a key of the client's own")
	}
}

// conversation is a request of about 66 kB as an agent sends it: 40 messages, and
// tools whose schemas have members out of order.
func conversation() []byte {
	text := strings.Repeat("The quick brown fox said: \\\"jump\\\", over\\n the lazy dog. ", 22)
	var b strings.Builder
	b.WriteString(`{"model":"claude-sonnet-4-5","max_tokens":4096,"stream":true,"messages":[`)
	for i := range 40 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":"user","content":[{"type":"text","text":"%d %s"}]}`, i, text)
	}
	b.WriteString(`],"tools":[`)
	for i := range 60 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"tool_%d","description":"does a thing","input_schema":{"type":"object","required":["path"],"properties":{"path":{"type":"string"},"limit":{"type":"integer"}}}}`, i)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

func BenchmarkCanon(b *testing.B) {
	doc := conversation()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	c := new(canon)
	for b.Loop() {
		if !c.read(doc) {
			b.Fatal("it is not JSON")
		}
	}
}

func BenchmarkKey(b *testing.B) {
	r := Request{Scope: Scope{Name: "ada"}, Method: "POST", Provider: "anthropic", Path: "/v1/messages", Body: conversation()}
	b.SetBytes(int64(len(r.Body)))
	b.ReportAllocs()
	for b.Loop() {
		r.Key()
	}
}
