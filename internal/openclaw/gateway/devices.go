package gateway

import (
	"context"
	"time"
)

// Devices are the browsers and programs that asked to use the gateway.
type Devices struct {
	Pending []PendingDevice `json:"pending"`
	Paired  []PairedDevice  `json:"paired"`
}

// PendingDevice waits for approval.
type PendingDevice struct {
	RequestID  string    `json:"requestId"`
	DeviceID   string    `json:"deviceId"`
	Name       string    `json:"name,omitempty"` // as it calls itself
	Client     string    `json:"client"`
	ClientMode string    `json:"clientMode,omitempty"`
	Platform   string    `json:"platform"`
	Address    string    `json:"address"`
	Role       string    `json:"role"`
	Roles      []string  `json:"roles,omitempty"`
	Scopes     []string  `json:"scopes"`
	Repair     bool      `json:"repair"` // a known device that asks for more or has changed
	Asked      time.Time `json:"asked"`
}

// PairedDevice was approved.
type PairedDevice struct {
	DeviceID   string    `json:"deviceId"`
	Name       string    `json:"name,omitempty"` // given with RenameDevice, else as it calls itself
	Client     string    `json:"client"`
	ClientMode string    `json:"clientMode,omitempty"`
	Platform   string    `json:"platform"`
	Address    string    `json:"address"`
	Role       string    `json:"role"`
	Roles      []string  `json:"roles,omitempty"`
	Scopes     []string  `json:"scopes"`
	Created    time.Time `json:"created"`
	Approved   time.Time `json:"approved"`
	LastSeen   time.Time `json:"lastSeen"`
	Connected  bool      `json:"connected"` // has an open connection; not told by ApproveDevice
}

// wireDevice is a device as the gateway sends it, pending or paired.
type wireDevice struct {
	RequestID     string   `json:"requestId"`
	DeviceID      string   `json:"deviceId"`
	DisplayName   string   `json:"displayName"`
	OperatorLabel string   `json:"operatorLabel"`
	Platform      string   `json:"platform"`
	ClientID      string   `json:"clientId"`
	ClientMode    string   `json:"clientMode"`
	Role          string   `json:"role"`
	Roles         []string `json:"roles"`
	Scopes        []string `json:"scopes"`
	RemoteIP      string   `json:"remoteIp"`
	IsRepair      bool     `json:"isRepair"`
	TS            float64  `json:"ts"`
	CreatedAtMS   float64  `json:"createdAtMs"`
	ApprovedAtMS  float64  `json:"approvedAtMs"`
	LastSeenAtMS  float64  `json:"lastSeenAtMs"`
	Connected     bool     `json:"connected"`
}

// Bounds of what the gateway may list.
const (
	maxDevices = 1000
	maxScopes  = 32
)

// DeviceEvents are the names of the events after which the devices differ. Of a
// device that was removed there is none.
var DeviceEvents = []string{"device.pair.requested", "device.pair.resolved", "device.pair.changed"}

// Devices lists them.
func (c *Client) Devices(ctx context.Context) (Devices, error) {
	var w struct {
		Pending []wireDevice `json:"pending"`
		Paired  []wireDevice `json:"paired"`
	}
	if err := c.Call(ctx, "device.pair.list", nil, &w); err != nil {
		return Devices{}, err
	}
	d := Devices{Pending: []PendingDevice{}, Paired: []PairedDevice{}}
	for _, p := range first(w.Pending, maxDevices) {
		d.Pending = append(d.Pending, p.pending())
	}
	for _, p := range first(w.Paired, maxDevices) {
		d.Paired = append(d.Paired, p.paired())
	}
	return d, nil
}

func (w wireDevice) pending() PendingDevice {
	return PendingDevice{
		RequestID: clean(w.RequestID), DeviceID: clean(w.DeviceID), Name: clean(w.DisplayName),
		Client: clean(w.ClientID), ClientMode: clean(w.ClientMode), Platform: clean(w.Platform), Address: clean(w.RemoteIP),
		Role: clean(w.Role), Roles: cleanAll(w.Roles), Scopes: cleanAll(w.Scopes), Repair: w.IsRepair, Asked: unixMS(w.TS),
	}
}

func (w wireDevice) paired() PairedDevice {
	name := clean(w.OperatorLabel)
	if name == "" {
		name = clean(w.DisplayName)
	}
	return PairedDevice{
		DeviceID: clean(w.DeviceID), Name: name,
		Client: clean(w.ClientID), ClientMode: clean(w.ClientMode), Platform: clean(w.Platform), Address: clean(w.RemoteIP),
		Role: clean(w.Role), Roles: cleanAll(w.Roles), Scopes: cleanAll(w.Scopes),
		Created: unixMS(w.CreatedAtMS), Approved: unixMS(w.ApprovedAtMS), LastSeen: unixMS(w.LastSeenAtMS), Connected: w.Connected,
	}
}

// ApproveDevice lets a pending device in.
func (c *Client) ApproveDevice(ctx context.Context, requestID string) (PairedDevice, error) {
	var w struct {
		Device wireDevice `json:"device"`
	}
	err := c.Call(ctx, "device.pair.approve", map[string]string{"requestId": requestID}, &w)
	return w.Device.paired(), err
}

// RejectDevice turns a pending device away and returns its ID.
func (c *Client) RejectDevice(ctx context.Context, requestID string) (deviceID string, err error) {
	var w wireDevice
	err = c.Call(ctx, "device.pair.reject", map[string]string{"requestId": requestID}, &w)
	return clean(w.DeviceID), err
}

// RenameDevice gives a paired device a name of 1 to 64 characters, which it keeps
// when it is approved anew.
func (c *Client) RenameDevice(ctx context.Context, deviceID, name string) error {
	return c.Call(ctx, "device.pair.rename", map[string]string{"deviceId": deviceID, "label": name}, nil)
}

// RemoveDevice takes a paired device's access and tokens away and closes its
// connections. When it comes again it waits for approval.
func (c *Client) RemoveDevice(ctx context.Context, deviceID string) error {
	return c.Call(ctx, "device.pair.remove", map[string]string{"deviceId": deviceID}, nil)
}
