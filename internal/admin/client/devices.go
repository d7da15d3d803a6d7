package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
)

// forAgent is a path of the API with its agent.
func forAgent(agent string, parts ...string) string {
	path := "/api/admin"
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path + "?agent=" + url.QueryEscape(agent)
}

// Devices lists the devices and senders of an agent, waiting and paired.
func (c *Client) Devices(ctx context.Context, agent string) (d admin.Devices, err error) {
	return d, c.get(ctx, forAgent(agent, "devices"), &d)
}

// Approve pairs the device that waits under a request.
func (c *Client) Approve(ctx context.Context, agent, request string) (d admin.PairedDevice, err error) {
	return d, c.call(ctx, http.MethodPost, forAgent(agent, "devices", request, "approve"), nil, &d)
}

// ApproveAll pairs all devices that wait.
func (c *Client) ApproveAll(ctx context.Context, agent string) (all api.ApprovedAll, err error) {
	return all, c.call(ctx, http.MethodPost, forAgent(agent, "devices", "approve-all"), nil, &all)
}

// Reject turns the device that waits under a request away.
func (c *Client) Reject(ctx context.Context, agent, request string) error {
	return c.call(ctx, http.MethodPost, forAgent(agent, "devices", request, "reject"), nil, nil)
}

// Rename gives a paired device the name it is shown with.
func (c *Client) Rename(ctx context.Context, agent, device, name string) error {
	body, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, forAgent(agent, "devices", device, "rename"), bytes.NewReader(body), nil)
}

// Revoke takes a paired device's access away.
func (c *Client) Revoke(ctx context.Context, agent, device string) error {
	return c.call(ctx, http.MethodDelete, forAgent(agent, "devices", device), nil, nil)
}

// ApproveSender lets somebody write to an agent by a chat channel.
func (c *Client) ApproveSender(ctx context.Context, agent, channel, account, request string) error {
	return c.call(ctx, http.MethodPost, forAgent(agent, "senders", channel, account, request, "approve"), nil, nil)
}

// DismissSender turns somebody away who wants to write by a chat channel.
func (c *Client) DismissSender(ctx context.Context, agent, channel, account, request string) error {
	return c.call(ctx, http.MethodPost, forAgent(agent, "senders", channel, account, request, "dismiss"), nil, nil)
}

// RotateToken gives an agent a new gateway token.
func (c *Client) RotateToken(ctx context.Context, agent string) (r admin.Rotation, err error) {
	return r, c.call(ctx, http.MethodPost, forAgent(agent, "tokens", "rotate"), nil, &r)
}
