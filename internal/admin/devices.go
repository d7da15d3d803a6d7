package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/store"
)

// Devices are the browsers, programs and channel senders that use an agent or
// wait to.
type Devices struct {
	Agent     string          `json:"agent"`
	State     agent.State     `json:"state"`
	Reachable bool            `json:"reachable"`     // the lists are as of now, else of Seen
	Seen      time.Time       `json:"seen,omitzero"` // when the lists were made; zero when never
	Pending   []PendingDevice `json:"pending"`
	Paired    []PairedDevice  `json:"paired"`
	Senders   []Sender        `json:"senders"`
}

// PendingDevice waits for approval.
type PendingDevice struct {
	RequestID  string    `json:"requestId"`
	DeviceID   string    `json:"deviceId"`
	Name       string    `json:"displayName,omitempty"`
	Client     string    `json:"client"` // e.g. "openclaw-control-ui"
	ClientMode string    `json:"clientMode,omitempty"`
	Platform   string    `json:"platform"`
	Address    string    `json:"address"`
	Role       string    `json:"role"`
	Roles      []string  `json:"roles,omitempty"`
	Scopes     []string  `json:"scopes"`
	Repair     bool      `json:"repair"` // a known device that asks for more or has changed
	Asked      time.Time `json:"asked"`
}

// Ways in which a device was approved.
const (
	HowByHand    = "by hand"
	HowAutomatic = "automatic" // because its browser was signed in
)

// PairedDevice was approved.
type PairedDevice struct {
	DeviceID   string    `json:"deviceId"`
	Name       string    `json:"displayName,omitempty"`
	Client     string    `json:"client"`
	ClientMode string    `json:"clientMode,omitempty"`
	Platform   string    `json:"platform"`
	Address    string    `json:"address"`
	Role       string    `json:"role"`
	Roles      []string  `json:"roles,omitempty"`
	Scopes     []string  `json:"scopes"`
	Created    time.Time `json:"created,omitzero"`
	Approved   time.Time `json:"approved"`
	ApprovedBy string    `json:"approvedBy,omitempty"`  // "person ann@example.com"; "" when it was not approved here
	Via        string    `json:"approvedVia,omitempty"` // how it was established who that is: "passkey"
	How        string    `json:"how,omitempty"`         // one of the How constants
	Connected  bool      `json:"connected"`             // has an open connection now
	LastSeen   time.Time `json:"lastSeen,omitzero"`
}

// Sender waits for approval to write to the agent by a chat channel.
type Sender struct {
	RequestID string    `json:"requestId"`
	Channel   string    `json:"channel"` // e.g. "telegram"
	Account   string    `json:"account"` // of the bot, "default" mostly
	SenderID  string    `json:"senderId"`
	Label     string    `json:"label"` // who it is, as the channel says
	Asked     time.Time `json:"asked"`
	Expires   time.Time `json:"expires,omitzero"`
}

// Devices lists the devices and senders of an agent. One that is not awake is not
// woken for it: then the lists are those last seen.
func (p *Plane) Devices(ctx context.Context, name string) (Devices, error) {
	ag, err := p.find(ctx, name, access.ReadDevices)
	if err != nil {
		return Devices{}, err
	}
	list, err := p.look(ctx, ag)
	if err != nil {
		if ctx.Err() != nil {
			return Devices{}, err
		}
		p.opts.Log.Debug("devices are listed as last seen", "agent", ag.Name(), "err", err)
		if list, err = p.lastSeen(ctx, ag); err != nil {
			return Devices{}, err
		}
	}
	list.Agent, list.State = ag.Name(), ag.Status().State
	return list, p.addApprovals(ctx, &list)
}

// look asks an agent that is awake, and remembers what it says.
func (p *Plane) look(ctx context.Context, ag Agent) (Devices, error) {
	var list Devices
	err := p.peek(ctx, ag, func(ctx context.Context, c *gateway.Client) (err error) {
		list, err = listDevices(ctx, c)
		return err
	})
	if err != nil {
		return Devices{}, err
	}
	list.Reachable, list.Seen = true, p.opts.Now().UTC()
	return list, p.remember(ctx, ag.Name(), list)
}

// listDevices asks a gateway for all there is.
func listDevices(ctx context.Context, c *gateway.Client) (Devices, error) {
	list := Devices{Pending: []PendingDevice{}, Paired: []PairedDevice{}, Senders: []Sender{}}
	found, err := c.Devices(ctx)
	if err != nil {
		return list, err
	}
	for _, d := range found.Pending {
		list.Pending = append(list.Pending, pendingOf(d))
	}
	for _, d := range found.Paired {
		list.Paired = append(list.Paired, pairedOf(d))
	}
	senders, err := c.Senders(ctx)
	for _, s := range senders {
		list.Senders = append(list.Senders, Sender(s))
	}
	var refused *gateway.RPCError
	if errors.As(err, &refused) { // a channel that cannot tell hides no devices
		err = nil
	}
	return list, err
}

// memories are the lists that were kept last, so that one is not written anew each
// time somebody looks.
type memories struct {
	mu   sync.Mutex
	kept map[string]memory // by agent; guarded by mu
}

type memory struct {
	list string
	at   time.Time
}

// news says whether a list is to be written: it differs, or the one that is kept
// has an old time.
func (m *memories) news(name, list string, at time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.kept[name]
	return !ok || last.list != list || at.Sub(last.at) >= time.Minute
}

func (m *memories) keep(name, list string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string]memory{}
	}
	m.kept[name] = memory{list, at}
}

func (m *memories) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, name)
}

// remember keeps a list for while the agent sleeps.
func (p *Plane) remember(ctx context.Context, name string, list Devices) error {
	at := list.Seen
	list.Seen, list.Paired = time.Time{}, slices.Clone(list.Paired)
	for i := range list.Paired {
		list.Paired[i].Connected = false
	}
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode the list of devices: %w", err)
	}
	if !p.memories.news(name, string(data), at) {
		return nil
	}
	if err := p.opts.Store.PutDeviceList(ctx, name, at, data); err != nil {
		return err
	}
	p.memories.keep(name, string(data), at)
	return nil
}

// lastSeen is the list as it was remembered; an empty one when none was.
func (p *Plane) lastSeen(ctx context.Context, ag Agent) (Devices, error) {
	list := Devices{Pending: []PendingDevice{}, Paired: []PairedDevice{}, Senders: []Sender{}}
	data, at, err := p.opts.Store.DeviceList(ctx, ag.Name())
	if errors.Is(err, store.ErrNotFound) {
		return list, nil
	}
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return list, fmt.Errorf("read the list of devices: %w", err)
	}
	list.Reachable, list.Seen = false, at
	return list, nil
}

// sameApproval is how much later than our record OpenClaw may have noted an
// approval. One that is later still was not made here.
const sameApproval = time.Minute

// addApprovals says of the paired devices who let them in.
func (p *Plane) addApprovals(ctx context.Context, list *Devices) error {
	known, err := p.opts.Store.Approvals(ctx, list.Agent)
	if err != nil {
		return err
	}
	for i := range list.Paired {
		d := &list.Paired[i]
		a := known[d.DeviceID]
		if !d.Approved.After(a.At.Add(sameApproval)) {
			d.ApprovedBy, d.Via, d.How = a.By, a.Via, a.How
		}
		if a.Name != "" {
			d.Name = a.Name
		}
	}
	for i := range list.Pending {
		if d := &list.Pending[i]; d.Name == "" {
			d.Name = known[d.DeviceID].Name
		}
	}
	return nil
}

func pendingOf(d gateway.PendingDevice) PendingDevice {
	return PendingDevice{RequestID: d.RequestID, DeviceID: d.DeviceID, Name: d.Name, Client: d.Client, ClientMode: d.ClientMode,
		Platform: d.Platform, Address: d.Address, Role: d.Role, Roles: d.Roles, Scopes: d.Scopes, Repair: d.Repair, Asked: d.Asked}
}

func pairedOf(d gateway.PairedDevice) PairedDevice {
	return PairedDevice{DeviceID: d.DeviceID, Name: d.Name, Client: d.Client, ClientMode: d.ClientMode,
		Platform: d.Platform, Address: d.Address, Role: d.Role, Roles: d.Roles, Scopes: d.Scopes,
		Created: d.Created, Approved: d.Approved, Connected: d.Connected, LastSeen: d.LastSeen}
}

// WatchDevices returns a channel that receives when an agent's devices, senders or
// state may have changed, and once at the start, closed when ctx ends. It neither
// wakes the agent nor keeps it awake.
func (p *Plane) WatchDevices(ctx context.Context, name string) (<-chan struct{}, error) {
	ag, err := p.find(ctx, name, access.ReadDevices)
	if err != nil {
		return nil, err
	}
	return p.watchers.follow(ctx, ag), nil
}
