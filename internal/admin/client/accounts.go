package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/access/accounts"
)

// Users lists the people who may sign in.
func (c *Client) Users(ctx context.Context) ([]accounts.Person, error) {
	var list struct {
		Users []accounts.Person `json:"users"`
	}
	err := c.get(ctx, "/api/admin/users", &list)
	return list.Users, err
}

// InviteUser makes a link by which one more person makes an account.
func (c *Client) InviteUser(ctx context.Context) (made accounts.Invitation, err error) {
	err = c.call(ctx, http.MethodPost, "/api/admin/users/invite", nil, &made)
	return made, err
}

// RecoverUser makes a link by which a person gets in again, and ends their sessions.
func (c *Client) RecoverUser(ctx context.Context, name string) (made accounts.Invitation, err error) {
	err = c.call(ctx, http.MethodPost, "/api/admin/users/"+url.PathEscape(name)+"/recover", nil, &made)
	return made, err
}

// DisableUser lets a person in no more.
func (c *Client) DisableUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/api/admin/users/"+url.PathEscape(name)+"/disable", nil, nil)
}

// RemoveUser forgets a person.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/api/admin/users/"+url.PathEscape(name), nil, nil)
}

// ServiceTokens lists the tokens of programs.
func (c *Client) ServiceTokens(ctx context.Context) ([]accounts.ServiceToken, error) {
	var list struct {
		Tokens []accounts.ServiceToken `json:"serviceTokens"`
	}
	err := c.get(ctx, "/api/admin/service-tokens", &list)
	return list.Tokens, err
}

// CreateServiceToken makes a token, which is in the answer this once. expires is
// as [accounts.ParseLife] reads it.
func (c *Client) CreateServiceToken(ctx context.Context, name, scopes, expires string) (made accounts.CreatedToken, err error) {
	body, err := json.Marshal(map[string]string{"name": name, "scopes": scopes, "expires": expires})
	if err != nil {
		return made, err
	}
	err = c.call(ctx, http.MethodPost, "/api/admin/service-tokens", bytes.NewReader(body), &made)
	return made, err
}

// RemoveServiceToken makes a token useless.
func (c *Client) RemoveServiceToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/api/admin/service-tokens/"+url.PathEscape(name), nil, nil)
}
