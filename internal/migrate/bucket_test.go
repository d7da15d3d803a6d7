package migrate

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// objects is a bucket in memory.
type objects map[string]object

type object struct {
	text string
	age  int // hours; the smaller, the newer
}

func (o objects) String() string { return "a bucket" }

func (o objects) List(_ context.Context, prefix string, f func(Object) error) error {
	for name, v := range o {
		if strings.HasPrefix(name, prefix) {
			if err := f(Object{name, int64(len(v.text)), then.Add(-time.Duration(v.age) * time.Hour)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o objects) Get(_ context.Context, name string, off, n int64) ([]byte, error) {
	v, ok := o[name]
	if !ok {
		return nil, errors.New("no such object")
	}
	off = min(off, int64(len(v.text)))
	return []byte(v.text[off:min(off+n, int64(len(v.text)))]), nil
}

func TestBuckets(t *testing.T) {
	seed := string(gzipped(t, tarOf(t, file("root/.moltbot/moltbot.json", configWith("/root/.moltbot/workspace")), file("root/.moltbot/workspace/SOUL.md", "of the archive"))))
	for _, c := range []struct {
		name    string
		bucket  objects
		kind    string
		want    map[string]string
		warning string
	}{
		{"the seed's archive", objects{"moltbot-backup.tar.gz": {seed, 1}}, "Moltbot", map[string]string{".openclaw/workspace/SOUL.md": "of the archive"}, ""},
		{"an archive of another name", objects{"agents/main/backup.tar.gz": {seed, 1}}, "Moltbot", map[string]string{".openclaw/workspace/SOUL.md": "of the archive"}, ""},
		{"the newer of two archives", objects{"moltbot-backup.tar.gz": {"old", 9}, "backup.tar.gz": {seed, 1}}, "Moltbot", map[string]string{".openclaw/workspace/SOUL.md": "of the archive"}, ""},
		{"files, with /root/clawd as the workspace", objects{
			"openclaw/openclaw.json": {configWith("/root/clawd"), 1}, "openclaw/agents/main/agent/x": {"x", 1}, "workspace/SOUL.md": {"of clawd", 1},
			"skills/weather/SKILL.md": {"# W", 1}, ".last-sync": {"2026", 1}}, "bucket",
			map[string]string{".openclaw/workspace/SOUL.md": "of clawd", ".openclaw/workspace/skills/weather/SKILL.md": "# W", ".openclaw/agents/main/agent/x": "x"}, ""},
		{"files, with a workspace of its own", objects{
			"openclaw/openclaw.json": {configWith("/root/.openclaw/workspace"), 1}, "openclaw/workspace/SOUL.md": {"inside", 1},
			"workspace/notes.md": {"of clawd", 1}, "skills/weather/SKILL.md": {"# W", 1}}, "bucket",
			map[string]string{".openclaw/workspace/SOUL.md": "inside", "clawd/notes.md": "of clawd", "clawd/skills/weather/SKILL.md": "# W"}, ""},
		{"files, without a word of a workspace", objects{
			"clawdbot/clawdbot.json": {"{}", 1}, "skills/weather/SKILL.md": {"# W", 1}}, "bucket",
			map[string]string{".openclaw/workspace/skills/weather/SKILL.md": "# W"}, ""},
		{"the flat form", objects{"clawdbot.json": {"{}", 1}, "agents/main/x": {"x", 1}}, "", map[string]string{".openclaw/agents/main/x": "x"}, ""},
		{"an old archive beside files", objects{"moltbot-backup.tar.gz": {seed, 9}, "openclaw/openclaw.json": {"{}", 1}, "openclaw/x": {"of the files", 1}}, "bucket",
			map[string]string{".openclaw/x": "of the files"}, "moltbot-backup.tar.gz"},
		{"old files beside an archive", objects{"moltbot-backup.tar.gz": {seed, 1}, "openclaw/openclaw.json": {"{}", 9}, "openclaw/x": {"of the files", 9}}, "Moltbot",
			map[string]string{".openclaw/workspace/SOUL.md": "of the archive"}, "openclaw/openclaw.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := OpenBucket(t.Context(), c.bucket, Options{})
			got := bring(t, b, err)
			got.mustHave(t, c.want)
			if !strings.Contains(got.report.Kind, c.kind) {
				t.Errorf("kind %q, want %q in it", got.report.Kind, c.kind)
			}
			if c.warning != "" {
				got.mustWarn(t, c.warning)
			}
		})
	}
}

func TestHostileBuckets(t *testing.T) {
	config := object{"{}", 1}
	for name, c := range map[string]struct {
		bucket objects
		want   error
	}{
		"nothing":     {objects{}, ErrUnknown},
		"of else":     {objects{"photos/1.jpg": {"x", 1}}, ErrUnknown},
		"goes up":     {objects{"openclaw/openclaw.json": config, "openclaw/../../evil": {"x", 1}}, ErrHostile},
		"too many":    {objects{"openclaw/openclaw.json": config, "a": {"", 1}, "b": {"", 1}, "c": {"", 1}, "d": {"", 1}}, ErrHostile},
		"file is dir": {objects{"openclaw/openclaw.json": config, "openclaw/x": {"1", 1}, "openclaw/x/y": {"2", 1}}, ErrHostile},
	} {
		b, err := OpenBucket(t.Context(), c.bucket, Options{MaxEntries: 4})
		if err == nil {
			defer b.Close()
			_, err = b.Write(t.Context(), t.TempDir()+"/home")
		}
		if !errors.Is(err, c.want) || remedy.Of(err) == "" {
			t.Errorf("%s: %v, want %v and what to do", name, err, c.want)
		}
	}
}

// serveS3 answers as S3 does to what NewR2 asks.
func serveS3(t *testing.T, bucket objects) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDTEST/") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>")
			return
		}
		name, found := strings.CutPrefix(r.URL.Path, "/moltbot-data/")
		if !found || name == "" {
			listS3(w, bucket, r.URL.Query().Get("prefix"))
			return
		}
		o, ok := bucket[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
			return
		}
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", then, strings.NewReader(o.text))
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func listS3(w http.ResponseWriter, bucket objects, prefix string) {
	type contents struct {
		Key          string
		Size         int
		LastModified string
		ETag         string
	}
	var out struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []contents
	}
	for name, o := range bucket {
		if strings.HasPrefix(name, prefix) {
			out.Contents = append(out.Contents, contents{name, len(o.text), then.Format(time.RFC3339), `"x"`})
		}
	}
	slices.SortFunc(out.Contents, func(a, b contents) int { return strings.Compare(a.Key, b.Key) })
	xml.NewEncoder(w).Encode(out)
}

func TestR2(t *testing.T) {
	seed := string(gzipped(t, tarOf(t, file("root/.moltbot/moltbot.json", "{}"), file("root/.moltbot/media/x", strings.Repeat("x", 100_000)))))
	endpoint := serveS3(t, objects{"moltbot-backup.tar.gz": {seed, 1}, "two/openclaw/openclaw.json": {"{}", 1}, "two/openclaw/media/A File (1).txt": {"odd name", 1}, "two/": {"", 1}})
	opts := R2Options{Endpoint: "http://" + endpoint, AccessKey: "AKIDTEST", SecretKey: secret.NewValue("s3cr3t")}
	for prefix, want := range map[string]map[string]string{
		"":     {".openclaw/media/x": strings.Repeat("x", 100_000)},
		"two/": {".openclaw/media/A File (1).txt": "odd name"},
	} {
		opts.Prefix = prefix
		bucket, err := NewR2(opts)
		if err != nil {
			t.Fatal(err)
		}
		if prefix != "" && strings.HasSuffix(bucket.String(), "/") || strings.Contains(bucket.String(), "s3cr3t") {
			t.Errorf("the bucket is called %s", bucket)
		}
		b, err := OpenBucket(t.Context(), bucket, Options{})
		got := bring(t, b, err)
		got.mustHave(t, want)
	}
	opts.AccessKey = "ANOTHER"
	bucket, err := NewR2(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBucket(t.Context(), bucket, Options{}); err == nil || !strings.Contains(remedy.Of(err), "token") {
		t.Errorf("a wrong key: %v (%s), want what to do", err, remedy.Of(err))
	}
	for _, bad := range []R2Options{{}, {Endpoint: "x:1"}, {Endpoint: "https://x/y"}} {
		if _, err := NewR2(bad); err == nil || remedy.Of(err) == "" {
			t.Errorf("NewR2(%+v): %v, want an error that says what to do", bad, err)
		}
	}
}
