package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/moltworker/moltworker/internal/audit"
)

// Audit lists entries of the audit log, newest first.
func (c *Client) Audit(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	var list struct {
		Entries []audit.Entry `json:"entries"`
	}
	return list.Entries, c.get(ctx, "/api/admin/audit?"+f.Query().Encode(), &list)
}

// VerifyAudit has the audit log checked, also against heads that were noted.
func (c *Client) VerifyAudit(ctx context.Context, noted ...audit.Head) (report audit.Report, err error) {
	q := url.Values{}
	for _, h := range noted {
		q.Add("head", h.String())
	}
	if err := c.get(ctx, "/api/admin/audit/verify?"+q.Encode(), &report); err != nil {
		return report, err
	}
	if !slices.Equal(report.Noted, noted) {
		return report, errors.New("moltworker did not compare the audit log with the heads that were given")
	}
	return report, nil
}

// ExportAudit copies every entry of the audit log to w, a line each.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/api/admin/audit/export", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("export the audit log: %w", err)
	}
	return nil
}
