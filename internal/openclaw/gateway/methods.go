package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Health asks the gateway whether it works.
func (c *Client) Health(ctx context.Context) error {
	var h struct {
		OK bool `json:"ok"`
	}
	if err := c.Call(ctx, "health", nil, &h); err != nil {
		return err
	}
	if !h.OK {
		return errors.New("health: the gateway says that it is not well")
	}
	return nil
}

// Chat sends a message to a session ("main" is the usual one) and waits for the
// agent's answer, which may take many model and tool calls.
func (c *Client) Chat(ctx context.Context, session, message string) (string, error) {
	sub := c.Subscribe("chat")
	defer sub.Close()
	if err := c.Call(ctx, "sessions.messages.subscribe", map[string]string{"key": session}, nil); err != nil {
		return "", err
	}
	var started struct {
		RunID string `json:"runId"`
	}
	err := c.Call(ctx, "chat.send", map[string]string{
		"sessionKey": session, "message": message, "idempotencyKey": rand.Text(),
	}, &started)
	if err != nil {
		return "", err
	}
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the agent's answer: %w", context.Cause(ctx))
		case e, ok := <-sub.Events():
			if !ok {
				return "", fmt.Errorf("wait for the agent's answer: %w", sub.Err())
			}
			if text, done, err := answerIn(e, started.RunID); done {
				return text, err
			}
		}
	}
}

// answerIn looks for the end of a run in a chat event.
func answerIn(e Event, runID string) (text string, done bool, err error) {
	var p struct {
		RunID        string `json:"runId"`
		State        string `json:"state"`
		ErrorMessage string `json:"errorMessage"`
		Message      struct {
			Content []struct {
				Type string `json:"type"`
				Text string `json:"text"`
			} `json:"content"`
		} `json:"message"`
	}
	if json.Unmarshal(e.Payload, &p) != nil || p.RunID != runID {
		return "", false, nil
	}
	switch p.State {
	case "error":
		return "", true, fmt.Errorf("the agent could not answer: %s", clean(p.ErrorMessage))
	case "aborted":
		return "", true, errors.New("the agent's answer was aborted")
	case "final":
		var b strings.Builder
		for _, part := range p.Message.Content {
			if part.Type == "text" {
				b.WriteString(part.Text)
			}
		}
		return b.String(), true, nil
	}
	return "", false, nil
}

func unixMS(ms float64) time.Time {
	if ms <= 0 || ms > 1e14 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func first[T any](list []T, most int) []T { return list[:min(len(list), most)] }

func cleanAll(list []string) []string {
	out := make([]string, 0, min(len(list), maxScopes))
	for _, s := range first(list, maxScopes) {
		out = append(out, clean(s))
	}
	return out
}
