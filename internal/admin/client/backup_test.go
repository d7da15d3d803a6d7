package client_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/admin/client"
)

// What `moltworker backup` asks arrives, bytes that are not UTF-8 too, and what was cut
// off passes for nothing.
func TestBackupsOverTheSocket(t *testing.T) {
	data, b := t.TempDir(), admintest.NewBackups(time.Now, "main")
	w := admintest.New(t, func(o *admin.Options) { o.Backups = b })
	listener, err := net.Listen("unix", client.SocketPath(data))
	if err != nil {
		t.Fatal(err)
	}
	ours := api.Owner(api.Handler(w.Plane, w.Options.Log))
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/verify") { // is cut off
			_, _ = io.WriteString(w, `{"progress":"half of it"}`+"\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		ours.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	c, ctx := client.New(data), t.Context()

	const odd = "notes/\xff\xfe&?#.txt"
	b.Write("main", odd, "first")
	if _, err := c.BackupNow(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	b.Write("main", odd, "second")
	if _, err := c.BackupNow(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	list, total, err := c.Contents(ctx, "main", "1", "notes")
	if err != nil || total != 1 || list[0].Path != odd {
		t.Fatalf("%+v, %v", list, err)
	}
	changes, _, err := c.Diff(ctx, "main", "1", "latest")
	if err != nil || len(changes) != 1 || changes[0].Path != odd {
		t.Errorf("%+v, %v", changes, err)
	}
	var file strings.Builder
	if n, err := c.File(ctx, "main", "1", odd, &file); err != nil || n != 5 || file.String() != "first" {
		t.Errorf("%q, %v", file.String(), err)
	}
	var steps []string
	r, err := c.Restore(ctx, "main", "1", admin.RestoreTo{Only: []string{odd}}, func(s string) { steps = append(steps, s) })
	if err != nil || r.Files != 1 || b.Live("main", odd) != "first" || !slices.Equal(steps, []string{"reading version 0000000000000001"}) {
		t.Errorf("%+v %q, %v", r, steps, err)
	}
	var refused *admin.Error
	if _, err := c.Restore(ctx, "main", "1", admin.RestoreTo{As: "main"}, nil); !errors.As(err, &refused) || refused.Kind != "taken" || refused.Status != 409 {
		t.Errorf("%v", err) // refused after it began: in the last line
	}

	b.Write("main", "large", strings.Repeat("x", 1<<20)) // more than waits to be sent
	if _, err := c.BackupNow(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	b.Fail("File", errors.New("gone"))
	if _, err := c.File(ctx, "main", "latest", "large", io.Discard); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("a file that was cut: %v", err)
	}
	b.Fail("Export", errors.New("gone")) // POSTs are not sent again
	if _, err := c.Export(ctx, "main", "", "", io.Discard); err == nil {
		t.Error("an archive that was cut passes for a whole one")
	}
	if r, err := c.Verify(ctx, "main", true, nil); err == nil {
		t.Errorf("a verification that was cut passes for %+v", r)
	}
}
