// Package client is the command line's side of the admin API: it finds a running
// `moltworker up` by the socket in its data directory and speaks the same API as
// every other client. It holds no rules of its own.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/unixsock"
)

// ErrNotRunning: no `moltworker up` serves this data directory.
var ErrNotRunning = errors.New("moltworker is not running here")

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 16 << 20

// Client speaks to one running moltworker.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of the moltworker that serves the data directory. It does
// not connect yet.
func New(data string) *Client {
	c := &Client{socket: SocketPath(data)}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsock.Dial(ctx, c.socket)
		},
	}}
	return c
}

// SocketPath is where `up` listens for the command line.
func SocketPath(data string) string { return filepath.Join(data, "moltworker.sock") }

// Status asks whether the control plane answers, and its version.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	return s, c.get(ctx, "/api/status", &s)
}

// Agents lists the agents.
func (c *Client) Agents(ctx context.Context) ([]admin.AgentInfo, error) {
	var list struct {
		Agents []admin.AgentInfo `json:"agents"`
	}
	return list.Agents, c.get(ctx, "/api/admin/agents", &list)
}

// Agent describes one agent.
func (c *Client) Agent(ctx context.Context, name string) (info admin.AgentInfo, err error) {
	return info, c.get(ctx, "/api/admin/agents/"+url.PathEscape(name), &info)
}

// Restart restarts an agent's gateway.
func (c *Client) Restart(ctx context.Context, name string) (s agent.Status, err error) {
	return s, c.call(ctx, http.MethodPost, "/api/admin/agents/"+url.PathEscape(name)+"/restart", nil, &s)
}

// Sleep puts an agent to sleep now.
func (c *Client) Sleep(ctx context.Context, name string) (s agent.Status, err error) {
	return s, c.call(ctx, http.MethodPost, "/api/admin/agents/"+url.PathEscape(name)+"/sleep", nil, &s)
}

// Wake wakes an agent and returns when its gateway answers.
func (c *Client) Wake(ctx context.Context, name string) (s agent.Status, err error) {
	return s, c.call(ctx, http.MethodPost, "/api/admin/agents/"+url.PathEscape(name)+"/wake", nil, &s)
}

// Create makes a new agent.
func (c *Client) Create(ctx context.Context, name string) (made admin.Created, err error) {
	body, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return made, err
	}
	return made, c.call(ctx, http.MethodPost, "/api/admin/agents", bytes.NewReader(body), &made)
}

// Remove stops an agent and sets what it has aside.
func (c *Client) Remove(ctx context.Context, name string) (gone admin.Removed, err error) {
	return gone, c.call(ctx, http.MethodDelete, "/api/admin/agents/"+url.PathEscape(name), nil, &gone)
}

// Logs calls f with the newest n entries and, with follow, with later ones until
// ctx ends.
func (c *Client) Logs(ctx context.Context, name string, n int, follow bool, f func(agent.LogEntry) error) error {
	query := url.Values{"tail": {strconv.Itoa(n)}}
	if follow {
		query.Set("follow", "1")
	}
	resp, err := c.do(ctx, http.MethodGet, "/api/admin/agents/"+url.PathEscape(name)+"/logs?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(make([]byte, 64<<10), 1<<20)
	for scan.Scan() {
		var e agent.LogEntry
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			return fmt.Errorf("read a log entry: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return scan.Err()
}

// Secrets lists the names of sealed secrets.
func (c *Client) Secrets(ctx context.Context) ([]secret.Info, error) {
	all, err := c.SecretAges(ctx)
	sealed := []secret.Info{}
	for _, s := range all {
		if s.From == admin.FromStore {
			sealed = append(sealed, s.Info)
		}
	}
	return sealed, err
}

// SecretAges lists all secrets, sealed and configured, with what is said of their
// ages.
func (c *Client) SecretAges(ctx context.Context) ([]admin.SecretInfo, error) {
	var list struct {
		Secrets []admin.SecretInfo `json:"secrets"`
	}
	return list.Secrets, c.get(ctx, "/api/admin/secrets", &list)
}

// PutSecret seals a value.
func (c *Client) PutSecret(ctx context.Context, name, value string) error {
	return c.call(ctx, http.MethodPut, "/api/admin/secrets/"+url.PathEscape(name), bytes.NewReader([]byte(value)), nil)
}

// RemoveSecret removes a sealed value.
func (c *Client) RemoveSecret(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/api/admin/secrets/"+url.PathEscape(name), nil, nil)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.call(ctx, http.MethodGet, path, nil, into)
}

func (c *Client) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read moltworker's answer: %w", err)
	}
	return nil
}

// do sends a request and turns a refusal into an *admin.Error.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://moltworker"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, notRunning(err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	var refusal struct {
		Error *admin.Error `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&refusal) != nil || refusal.Error == nil {
		return nil, fmt.Errorf("moltworker answered %s", resp.Status)
	}
	refusal.Error.Status = resp.StatusCode
	return nil, refusal.Error
}

// notRunning recognises that nobody listens on the socket.
func notRunning(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	return err
}
