package gateway

import (
	"context"
	"strings"
	"time"
)

// Sender waits for approval to write to the agent by a chat channel. OpenClaw
// tells nobody when there is a new one; it has to be asked.
type Sender struct {
	RequestID string
	Channel   string // e.g. "telegram"
	Account   string // of the channel: which bot, mostly "default"
	SenderID  string // by which the channel knows the sender
	Label     string // who it is, as the channel says: "ann (Ann)"; "" when it does not
	Asked     time.Time
	Expires   time.Time
}

// wireSender is a sender as the gateway sends it.
type wireSender struct {
	RequestID string         `json:"requestId"`
	Channel   string         `json:"channel"`
	AccountID string         `json:"accountId"`
	SenderID  string         `json:"senderId"`
	Metadata  map[string]any `json:"metadata"`
	CreatedAt string         `json:"createdAt"`
	ExpiresAt string         `json:"expiresAt"`
}

// Senders lists those who wait, on all channels.
func (c *Client) Senders(ctx context.Context) ([]Sender, error) {
	var w struct {
		Requests []wireSender `json:"requests"`
	}
	if err := c.Call(ctx, "channels.pairing.list", nil, &w); err != nil {
		return nil, err
	}
	senders := []Sender{}
	for _, s := range first(w.Requests, maxDevices) {
		senders = append(senders, Sender{
			RequestID: clean(s.RequestID), Channel: clean(s.Channel), Account: clean(s.AccountID),
			SenderID: clean(s.SenderID), Label: s.label(), Asked: rfc3339(s.CreatedAt), Expires: rfc3339(s.ExpiresAt),
		})
	}
	return senders, nil
}

// label says who the sender is with the names that channels tell.
func (s wireSender) label() string {
	var names []string
	for _, key := range []string{"username", "name", "displayName", "firstName", "lastName"} {
		if name, ok := s.Metadata[key].(string); ok && clean(name) != "" {
			names = append(names, clean(name))
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return names[0] + " (" + strings.Join(names[1:], " ") + ")"
}

// ApproveSender lets a sender write to the agent and has the channel tell them.
func (c *Client) ApproveSender(ctx context.Context, channel, account, requestID string) (senderID string, err error) {
	var w wireSender
	params := map[string]any{"channel": channel, "accountId": account, "requestId": requestID, "notify": true}
	err = c.Call(ctx, "channels.pairing.approve", params, &w)
	return clean(w.SenderID), err
}

// DismissSender turns a sender away, who may ask again.
func (c *Client) DismissSender(ctx context.Context, channel, account, requestID string) (senderID string, err error) {
	var w wireSender
	params := map[string]string{"channel": channel, "accountId": account, "requestId": requestID}
	err = c.Call(ctx, "channels.pairing.dismiss", params, &w)
	return clean(w.SenderID), err
}

func rfc3339(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
