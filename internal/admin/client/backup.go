package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/backup"
)

// errCut: an answer ended before it said what came of it.
var errCut = errors.New("moltworker's answer was cut off; what it did may go on, see `moltworker backup status`")

// agentPath is a path of the API below an agent.
func agentPath(agent string, parts ...string) string {
	path := "/api/admin/agents/" + url.PathEscape(agent)
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path
}

func body(v any) (io.Reader, error) {
	data, err := json.Marshal(v)
	return bytes.NewReader(data), err
}

// post sends v and reads the answer into one.
func (c *Client) post(ctx context.Context, path string, v, into any) error {
	b, err := body(v)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, b, into)
}

// long sends v, calls tell with each new step that it is told of, and reads the result
// into one.
func (c *Client) long(ctx context.Context, path string, v, into any, tell func(string)) error {
	b, err := body(v)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, path, b)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), maxAnswer)
	for last := ""; lines.Scan(); {
		var step api.Step
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return fmt.Errorf("read moltworker's answer: %w", err)
		}
		switch {
		case step.Error != nil:
			step.Error.Status = step.Status
			return step.Error
		case step.Result != nil:
			return json.Unmarshal(step.Result, into)
		case step.Progress != last && tell != nil:
			last = step.Progress
			tell(last)
		}
	}
	return errors.Join(errCut, context.Cause(ctx), lines.Err())
}

// Backup says where versions are kept and how each agent's are.
func (c *Client) Backup(ctx context.Context) (o admin.BackupOverview, err error) {
	return o, c.get(ctx, "/api/admin/backup", &o)
}

// BackupNow makes a version of an agent.
func (c *Client) BackupNow(ctx context.Context, agent string) (v backup.Version, err error) {
	return v, c.call(ctx, http.MethodPost, agentPath(agent, "backup"), nil, &v)
}

// Versions lists an agent's versions, newest first.
func (c *Client) Versions(ctx context.Context, agent string) ([]backup.Version, error) {
	var list api.Versions
	return list.Versions, c.get(ctx, agentPath(agent, "versions"), &list)
}

// Contents lists one directory of a version. total is how many entries it has.
func (c *Client) Contents(ctx context.Context, agent, version, dir string) (list []backup.Entry, total int, err error) {
	var found api.Contents
	if err := c.get(ctx, agentPath(agent, "versions", version, "contents")+"?dir="+url.QueryEscape(dir), &found); err != nil {
		return nil, 0, err
	}
	for _, e := range found.Entries {
		if e.Path, err = admin.Unescaped(e.Path, e.Escaped); err != nil {
			return nil, 0, err
		}
		list = append(list, e.Entry)
	}
	return list, found.Total, nil
}

// Parts says how each part of what an agent needs is in a version.
func (c *Client) Parts(ctx context.Context, agent, version string) ([]admin.StatePart, error) {
	var list struct {
		Parts []admin.StatePart `json:"parts"`
	}
	return list.Parts, c.get(ctx, agentPath(agent, "versions", version, "parts"), &list)
}

// Diff says what differs between two versions. total is in how many places.
func (c *Client) Diff(ctx context.Context, agent, from, to string) (list []backup.Change, total int, err error) {
	var found api.Changes
	query := url.Values{"from": {from}, "to": {to}}
	if err := c.get(ctx, agentPath(agent, "diff")+"?"+query.Encode(), &found); err != nil {
		return nil, 0, err
	}
	for _, e := range found.Changes {
		if e.Path, err = admin.Unescaped(e.Path, e.Escaped); err != nil {
			return nil, 0, err
		}
		list = append(list, e.Change)
	}
	return list, found.Total, nil
}

// File copies a file of a version to w. After an error what was written is of no use.
func (c *Client) File(ctx context.Context, agent, version, path string, w io.Writer) (int64, error) {
	return c.copy(ctx, http.MethodGet, agentPath(agent, "versions", version, "file")+"?path="+url.QueryEscape(path), nil, w)
}

// Export copies an agent to w as one file. After an error what was written is of no
// use.
func (c *Client) Export(ctx context.Context, agent, version, recipient string, w io.Writer) (int64, error) {
	b, err := body(map[string]string{"version": version, "recipient": recipient})
	if err != nil {
		return 0, err
	}
	return c.copy(ctx, http.MethodPost, agentPath(agent, "export"), b, w)
}

func (c *Client) copy(ctx context.Context, method, path string, b io.Reader, w io.Writer) (int64, error) {
	resp, err := c.do(ctx, method, path, b)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("moltworker broke off in the middle; its log says why")
	}
	return n, err
}

// Restore puts a version back.
func (c *Client) Restore(ctx context.Context, agent, version string, to admin.RestoreTo, tell func(string)) (r admin.Restored, err error) {
	var only []string
	for _, path := range to.Only {
		only = append(only, url.QueryEscape(path)) // which may have any bytes
	}
	request := map[string]any{"version": version, "as": to.As, "only": only, "escaped": true}
	return r, c.long(ctx, agentPath(agent, "restore"), request, &r, tell)
}

// Verify looks whether every version can be restored.
func (c *Client) Verify(ctx context.Context, agent string, full bool, tell func(string)) (r backup.VerifyReport, err error) {
	return r, c.long(ctx, agentPath(agent, "verify"), map[string]bool{"full": full}, &r, tell)
}

// Repair mends what a full verification finds.
func (c *Client) Repair(ctx context.Context, agent string, tell func(string)) (r backup.RepairReport, err error) {
	return r, c.long(ctx, agentPath(agent, "repair"), struct{}{}, &r, tell)
}

// Prune lets go of versions that the policy does not keep.
func (c *Client) Prune(ctx context.Context, agent string) (r backup.PruneReport, err error) {
	return r, c.call(ctx, http.MethodPost, agentPath(agent, "prune"), nil, &r)
}

// Drill tries a restore.
func (c *Client) Drill(ctx context.Context, agent string, tell func(string)) (d admin.Drill, err error) {
	return d, c.long(ctx, agentPath(agent, "drill"), struct{}{}, &d, tell)
}

// Claim makes this machine the one that writes an agent's versions.
func (c *Client) Claim(ctx context.Context, agent string) error {
	return c.call(ctx, http.MethodPost, agentPath(agent, "claim"), nil, nil)
}

// Unlock gives this machine a key.
func (c *Client) Unlock(ctx context.Context, key string) error {
	return c.post(ctx, "/api/admin/backup/unlock", map[string]string{"key": key}, nil)
}

// Keys lists what opens the backup.
func (c *Client) Keys(ctx context.Context) ([]admin.BackupKey, error) {
	var list api.Keys
	return list.Keys, c.get(ctx, "/api/admin/backup/keys", &list)
}

// AddKey lets a recipient open the backup.
func (c *Client) AddKey(ctx context.Context, name, recipient string) (k admin.BackupKey, err error) {
	return k, c.post(ctx, "/api/admin/backup/keys", map[string]string{"name": name, "recipient": recipient}, &k)
}

// NewKey makes a key, whose secret half is in the answer this once.
func (c *Client) NewKey(ctx context.Context, name string) (k api.NewKey, err error) {
	return k, c.post(ctx, "/api/admin/backup/keys/new", map[string]string{"name": name}, &k)
}

// RemoveKey takes a key's way into the backup.
func (c *Client) RemoveKey(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/admin/backup/keys/"+url.PathEscape(id), nil, nil)
}

// Import makes an agent of a foreign state.
func (c *Client) Import(ctx context.Context, agent, from string, tell func(string)) (made admin.Imported, err error) {
	return made, c.long(ctx, agentPath(agent, "import"), map[string]string{"from": from}, &made, tell)
}
