package client_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
	"github.com/moltworker/moltworker/internal/unixsock"
)

func TestAuditLogOfARunningOne(t *testing.T) {
	data := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(data, "control.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	log := audit.New(db, time.Now)
	for range 3 {
		if err := log.Record(t.Context(), audit.Event{Action: "test.a", Detail: "<é>"}); err != nil {
			t.Fatal(err)
		}
	}
	deaf := false // does not hear of noted heads
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/admin/audit", func(w http.ResponseWriter, r *http.Request) {
		f, err := audit.ParseFilter(r.URL.Query())
		if err != nil {
			t.Error(err)
		}
		entries, err := log.List(r.Context(), f)
		if err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(map[string]any{"entries": entries})
	})
	mux.HandleFunc("GET /api/admin/audit/verify", func(w http.ResponseWriter, r *http.Request) {
		heads, err := audit.ParseHeads(r.URL.Query()["head"])
		if err != nil {
			t.Error(err)
		}
		if deaf {
			heads = nil
		}
		report, err := log.Verify(r.Context(), heads...)
		if err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(report)
	})
	cut := false
	mux.HandleFunc("GET /api/admin/audit/export", func(w http.ResponseWriter, r *http.Request) {
		if err := log.Export(r.Context(), w); err != nil {
			t.Error(err)
		}
		if cut {
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	listener, err := unixsock.Listen(client.SocketPath(data), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	c := client.New(data)
	list, err := c.Audit(t.Context(), audit.Filter{After: 1, Limit: 1})
	if err != nil || len(list) != 1 || list[0].Seq != 3 || list[0].Detail != "<é>" || list[0].Damaged {
		t.Errorf("listed %+v, %v", list, err)
	}
	report, err := c.VerifyAudit(t.Context())
	if err != nil || !report.OK || report.Entries != 3 || report.Head != (audit.Head{Seq: 3, Hash: list[0].Hash}) {
		t.Errorf("verified %+v, %v", report, err)
	}
	if report, err := c.VerifyAudit(t.Context(), report.Head, audit.Head{Seq: 4, Hash: list[0].Hash}); err != nil || report.OK {
		t.Errorf("against a head that was noted: %+v, %v", report, err)
	}
	deaf = true
	if report, err := c.VerifyAudit(t.Context(), report.Head); err == nil {
		t.Errorf("one that does not compare is believed: %+v", report)
	}
	var export strings.Builder
	if err := c.ExportAudit(t.Context(), &export); err != nil {
		t.Fatal(err)
	}
	if again, err := audit.VerifyExport(strings.NewReader(export.String()), report.Head); err != nil || !again.OK {
		t.Errorf("exported %+v, %v", again, err)
	}
	cut = true
	if err := c.ExportAudit(t.Context(), &export); err == nil {
		t.Error("an export that was cut passes for a whole one")
	}
}
