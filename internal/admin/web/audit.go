package web

import (
	"context"
	"fmt"
	"html/template"
	"net/http"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/page"
)

// Trail is what the audit page reads; *audit.Log is one.
type Trail interface {
	List(ctx context.Context, f audit.Filter) ([]audit.Entry, error)
	Watch(ctx context.Context) <-chan audit.Entry
	Verify(ctx context.Context, noted ...audit.Head) (audit.Report, error)
}

const auditPage = 50 // entries

// maxAudited bounds what a filter says, in bytes.
const maxAudited = 200

type auditView struct {
	Entries []audit.Entry
	Filter  audit.Filter
	Agents  []string
	Older   template.URL // query of the next page, "" at the end
	Newest  template.URL // query without paging
	First   bool         // the newest are shown
	Here    template.URL // query of this page
}

// mayAudit refuses callers who may not read the log, which itself does not ask.
func mayAudit(ctx context.Context) error {
	if who := access.From(ctx); !who.May(access.ReadAudit) {
		return access.NotAllowed(who, access.ReadAudit)
	}
	return nil
}

func (s *site) audit(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewAudit(r)
	if err != nil {
		return err
	}
	s.pages.Write(w, r, http.StatusOK, "audit.html", page.View{Title: "Audit", Area: "audit", Data: v})
	return nil
}

func (s *site) auditPart(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewAudit(r)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, "audit-part", v)
	return nil
}

func (s *site) viewAudit(r *http.Request) (*auditView, error) {
	if err := mayAudit(r.Context()); err != nil {
		return nil, err
	}
	f, err := audit.ParseFilter(r.URL.Query())
	if err != nil {
		return nil, &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: err.Error()}
	}
	for _, text := range []string{f.Action, f.Actor, f.Agent} {
		if len(text) > maxAudited {
			return nil, &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: "That filter is too long."}
		}
	}
	f.Limit = auditPage
	v := &auditView{Filter: f, First: f.Before == 0}
	if v.Entries, err = s.Audit.List(r.Context(), f); err != nil {
		return nil, err
	}
	if c, err := s.choose(r); err == nil { // else one types the name
		v.Agents = c.Agents
	}
	f.Limit = 0
	v.Here = template.URL(f.Query().Encode()) // which has nothing in it but what is escaped
	older, newest := f, f
	newest.Before = 0
	v.Newest = template.URL(newest.Query().Encode())
	if n := len(v.Entries); n > 0 && v.Entries[n-1].Seq > 1 && n == auditPage {
		older.Before = v.Entries[n-1].Seq
		v.Older = template.URL(older.Query().Encode())
	}
	return v, nil
}

func (s *site) verify(w http.ResponseWriter, r *http.Request) error {
	if err := mayAudit(r.Context()); err != nil {
		return err
	}
	var report audit.Report
	err := s.act(r, func(ctx context.Context) (err error) {
		report, err = s.Audit.Verify(ctx)
		return err
	})
	if err == nil && !report.OK {
		err = broken(report)
	}
	return back(w, r, "/_admin/audit", err, "All %d entries are as they were recorded. The last is %d:%.16s….", report.Entries, report.Head.Seq, report.Head.Hash)
}

// broken says how a log is not what was recorded.
func broken(report audit.Report) error {
	e := &admin.Error{Status: http.StatusConflict, Kind: "broken", Message: "The log is not what was recorded.",
		Remedy: "Keep a copy of it. `moltworker audit verify` tells everything."}
	if n := int64(len(report.Problems)) + report.More; n > 0 {
		e.Message += fmt.Sprintf(" Problems: %d. The first: %s", n, page.Plain(report.Problems[0].String(), 300))
	}
	return e
}
