package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/store"
)

// Approval is what became of one of several devices.
type Approval struct {
	RequestID string       `json:"requestId"`
	Device    PairedDevice `json:"device,omitzero"`
	Error     *Error       `json:"error,omitempty"` // why it was not approved
}

// Bounds of what callers give.
const (
	maxID   = 200 // bytes of an ID of OpenClaw's
	maxName = 64  // characters of a device's name, as OpenClaw has it
)

// ApproveDevice lets a pending device in. It wakes the agent.
func (p *Plane) ApproveDevice(ctx context.Context, name, requestID string) (PairedDevice, error) {
	ag, err := p.find(ctx, name, access.WriteDevices)
	if err != nil {
		return PairedDevice{}, err
	}
	return p.approve(ctx, ag, requestID, HowByHand)
}

// AutoPair approves the pending request of a browser whose user is signed in: a
// person who may use the agent, not somebody with a gateway token. It is refused
// where Options say so.
func (p *Plane) AutoPair(ctx context.Context, name, requestID string) (PairedDevice, error) {
	who := access.From(ctx)
	ag, ok := p.opts.Agents.Agent(name)
	if !ok || who.Kind != access.KindPerson && who.Kind != access.KindDeveloper || !who.Opens(ag.Name()) {
		return PairedDevice{}, access.NotAllowed(who, access.WriteDevices)
	}
	if !p.opts.AutoPair {
		return PairedDevice{}, &Error{
			Status: http.StatusForbidden, Kind: "auto_pair_off",
			Message: "browsers are not paired automatically here",
			Remedy:  "approve it on the Devices page, or with `moltworker device approve`",
		}
	}
	return p.approve(ctx, ag, requestID, HowAutomatic)
}

// approve lets a device in, for a caller who may.
func (p *Plane) approve(ctx context.Context, ag Agent, requestID, how string) (PairedDevice, error) {
	if err := checkID("request", requestID); err != nil {
		return PairedDevice{}, err
	}
	var device PairedDevice
	err := ag.Gateway(ctx, func(c *gateway.Client) (err error) {
		device, err = p.approveBy(ctx, c, ag.Name(), requestID, how)
		return err
	})
	if err != nil {
		return PairedDevice{}, noRequest(err)
	}
	p.watchers.poke(ag.Name())
	return device, nil
}

// approveBy lets a device in over an open connection, and records it.
func (p *Plane) approveBy(ctx context.Context, c *gateway.Client, name, requestID, how string) (PairedDevice, error) {
	approved, err := c.ApproveDevice(ctx, requestID)
	if err != nil {
		return PairedDevice{}, err
	}
	device, who := pairedOf(approved), access.From(ctx)
	device.ApprovedBy, device.Via, device.How = who.String(), who.Via, how
	keep := p.opts.Store.PutApproval(context.WithoutCancel(ctx), store.Approval{
		Agent: name, Device: device.DeviceID, Request: requestID,
		By: device.ApprovedBy, Via: device.Via, How: how, At: p.opts.Now(),
	})
	return device, errors.Join(keep, p.record(ctx, audit.Event{
		Action: "device.approve", Agent: name, Target: device.DeviceID, New: device.Role + " " + strings.Join(device.Scopes, " "),
		Detail: how + ": " + device.Client + " from " + device.Address,
	}))
}

// ApproveAll lets every pending device in, and says of each what became of it. It
// wakes the agent.
func (p *Plane) ApproveAll(ctx context.Context, name string) ([]Approval, error) {
	ag, err := p.find(ctx, name, access.WriteDevices)
	if err != nil {
		return nil, err
	}
	all := []Approval{}
	err = ag.Gateway(ctx, func(c *gateway.Client) error {
		list, err := c.Devices(ctx)
		if err != nil {
			return err
		}
		for _, d := range list.Pending {
			one := Approval{RequestID: d.RequestID}
			if one.Device, err = p.approveBy(ctx, c, ag.Name(), d.RequestID, HowByHand); err != nil {
				one.Error = AsError(noRequest(err))
			}
			all = append(all, one)
		}
		return nil
	})
	p.watchers.poke(ag.Name())
	return all, err
}

// RejectDevice turns a pending device away. It wakes the agent.
func (p *Plane) RejectDevice(ctx context.Context, name, requestID string) error {
	return p.onDevices(ctx, name, checkID("request", requestID), func(c *gateway.Client, agent string) (audit.Event, error) {
		device, err := c.RejectDevice(ctx, requestID)
		return audit.Event{Action: "device.reject", Target: device, Detail: "request " + requestID}, noRequest(err)
	})
}

// RenameDevice gives a paired device the name it is shown with, of 1 to 64
// characters that can be seen. It wakes the agent.
func (p *Plane) RenameDevice(ctx context.Context, name, deviceID, label string) error {
	label = strings.TrimSpace(label)
	check := checkID("device", deviceID)
	if n := utf8.RuneCountInString(label); check == nil && (n < 1 || n > maxName || strings.ContainsFunc(label, unseen) || !utf8.ValidString(label)) {
		check = invalid(fmt.Sprintf("a device's name has 1 to %d printable characters", maxName), "")
	}
	return p.onDevices(ctx, name, check, func(c *gateway.Client, agent string) (audit.Event, error) {
		e := audit.Event{Action: "device.rename", Target: deviceID, New: label}
		list, err := c.Devices(ctx)
		if err != nil {
			return e, err
		}
		for _, d := range list.Paired {
			if d.DeviceID == deviceID {
				e.Old = d.Name
			}
		}
		if err := c.RenameDevice(ctx, deviceID, label); err != nil {
			return e, noDevice(err)
		}
		return e, p.opts.Store.NameDevice(context.WithoutCancel(ctx), agent, deviceID, label)
	})
}

// RevokeDevice takes a paired device's access away and closes its connections. It
// wakes the agent.
func (p *Plane) RevokeDevice(ctx context.Context, name, deviceID string) error {
	return p.onDevices(ctx, name, checkID("device", deviceID), func(c *gateway.Client, agent string) (audit.Event, error) {
		e := audit.Event{Action: "device.revoke", Target: deviceID}
		if err := c.RemoveDevice(ctx, deviceID); err != nil {
			return e, noDevice(err)
		}
		return e, p.opts.Store.RemoveApproval(context.WithoutCancel(ctx), agent, deviceID)
	})
}

// ApproveSender lets somebody write to an agent by a chat channel, and has the
// channel tell them. It wakes the agent.
func (p *Plane) ApproveSender(ctx context.Context, name, channel, account, requestID string) error {
	return p.onDevices(ctx, name, checkSender(channel, account, requestID), func(c *gateway.Client, agent string) (audit.Event, error) {
		sender, err := c.ApproveSender(ctx, channel, account, requestID)
		return audit.Event{Action: "sender.approve", Target: channel + "/" + account + "/" + sender, Detail: "request " + requestID}, noSender(err)
	})
}

// DismissSender turns somebody away who wants to write by a chat channel, and who
// may ask again. It wakes the agent.
func (p *Plane) DismissSender(ctx context.Context, name, channel, account, requestID string) error {
	return p.onDevices(ctx, name, checkSender(channel, account, requestID), func(c *gateway.Client, agent string) (audit.Event, error) {
		sender, err := c.DismissSender(ctx, channel, account, requestID)
		return audit.Event{Action: "sender.dismiss", Target: channel + "/" + account + "/" + sender, Detail: "request " + requestID}, noSender(err)
	})
}

// onDevices changes something about an agent's devices and records it. bad is
// what is wrong with what the caller gave; that they may do it is looked at first.
func (p *Plane) onDevices(ctx context.Context, name string, bad error, do func(c *gateway.Client, agent string) (audit.Event, error)) error {
	ag, err := p.find(ctx, name, access.WriteDevices)
	if err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	err = ag.Gateway(ctx, func(c *gateway.Client) error {
		e, err := do(c, ag.Name())
		if err != nil {
			return err
		}
		e.Agent = ag.Name()
		return p.record(ctx, e)
	})
	p.watchers.poke(ag.Name())
	return err
}

func unseen(r rune) bool { return !unicode.IsPrint(r) }

// checkID looks at an ID before OpenClaw does. They are OpenClaw's, of no form
// that is known; only what none can be is refused.
func checkID(what, id string) error {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) || strings.ContainsFunc(id, unseen) {
		return invalid("that is no "+what+"'s ID", "`moltworker device ls` lists them")
	}
	return nil
}

func checkSender(channel, account, requestID string) error {
	return errors.Join(checkID("channel", channel), checkID("account", account), checkID("request", requestID))
}

// noRequest turns OpenClaw's refusal of an ID that it does not know into ours.
func noRequest(err error) error {
	return unknown(err, "no device waits under that request",
		"`moltworker device ls` lists those that wait; reload the page in the browser to ask again")
}

func noDevice(err error) error {
	return unknown(err, "no device of that ID is paired", "`moltworker device ls` lists the devices")
}

func noSender(err error) error {
	return unknown(err, "no sender waits under that request", "requests last an hour; have them write to the bot again")
}

func unknown(err error, message, remedy string) error {
	var refused *gateway.RPCError
	if errors.As(err, &refused) && refused.Code == "INVALID_REQUEST" {
		return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: message, Remedy: remedy}
	}
	return err
}
