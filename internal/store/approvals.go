package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Approval is who let a device in, when and how.
type Approval struct {
	Agent   string
	Device  string // OpenClaw's ID of it
	Request string
	By      string // the principal: "person ann@example.com"
	Via     string // how that was established: "passkey"
	How     string // "by hand", "automatic"
	Name    string // by which people know the device; "" when they gave none
	At      time.Time
}

// PutApproval keeps an approval in place of an earlier one of that device. A name
// that people gave the device stays.
func (d *DB) PutApproval(ctx context.Context, a Approval) error {
	_, err := d.write.ExecContext(ctx, `
		INSERT INTO device_approvals (agent, device, request, by, via, how, name, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (agent, device) DO UPDATE SET request = excluded.request, by = excluded.by, via = excluded.via,
			how = excluded.how, at = excluded.at, name = iif(excluded.name = '', name, excluded.name)`,
		a.Agent, a.Device, a.Request, a.By, a.Via, a.How, a.Name, millis(a.At))
	if err != nil {
		return fmt.Errorf("keep the approval of a device: %w", err)
	}
	return nil
}

// NameDevice keeps the name that people gave a device, approved here or not.
func (d *DB) NameDevice(ctx context.Context, agent, device, name string) error {
	_, err := d.write.ExecContext(ctx, `
		INSERT INTO device_approvals (agent, device, request, by, via, how, name, at) VALUES (?, ?, '', '', '', '', ?, 0)
		ON CONFLICT (agent, device) DO UPDATE SET name = excluded.name`, agent, device, name)
	if err != nil {
		return fmt.Errorf("keep the name of a device: %w", err)
	}
	return nil
}

// Approvals returns those of an agent's devices, by device ID.
func (d *DB) Approvals(ctx context.Context, agent string) (map[string]Approval, error) {
	rows, err := d.read.QueryContext(ctx,
		`SELECT agent, device, request, by, via, how, name, at FROM device_approvals WHERE agent = ?`, agent)
	if err != nil {
		return nil, fmt.Errorf("find who approved the devices: %w", err)
	}
	defer rows.Close()
	found := map[string]Approval{}
	for rows.Next() {
		var a Approval
		var at int64
		if err := rows.Scan(&a.Agent, &a.Device, &a.Request, &a.By, &a.Via, &a.How, &a.Name, &at); err != nil {
			return nil, fmt.Errorf("find who approved the devices: %w", err)
		}
		a.At = fromMillis(at)
		found[a.Device] = a
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find who approved the devices: %w", err)
	}
	return found, nil
}

// RemoveApproval forgets who let a device in. One that is not there is no error.
func (d *DB) RemoveApproval(ctx context.Context, agent, device string) error {
	_, err := d.write.ExecContext(ctx, `DELETE FROM device_approvals WHERE agent = ? AND device = ?`, agent, device)
	if err != nil {
		return fmt.Errorf("forget the approval of a device: %w", err)
	}
	return nil
}

// PutDeviceList keeps an agent's devices as they were seen at a time.
func (d *DB) PutDeviceList(ctx context.Context, agent string, at time.Time, list []byte) error {
	_, err := d.write.ExecContext(ctx, `
		INSERT INTO device_lists (agent, at, list) VALUES (?, ?, ?)
		ON CONFLICT (agent) DO UPDATE SET at = excluded.at, list = excluded.list`, agent, millis(at), list)
	if err != nil {
		return fmt.Errorf("keep the list of devices: %w", err)
	}
	return nil
}

// DeviceList returns an agent's devices as they were last seen, or ErrNotFound.
func (d *DB) DeviceList(ctx context.Context, agent string) (list []byte, at time.Time, err error) {
	var ms int64
	err = d.read.QueryRowContext(ctx, `SELECT list, at FROM device_lists WHERE agent = ?`, agent).Scan(&list, &ms)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, time.Time{}, fmt.Errorf("devices of %s: %w", agent, ErrNotFound)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("find the list of devices: %w", err)
	}
	return list, fromMillis(ms), nil
}

// ForgetDevices forgets all that is kept of an agent's devices.
func (d *DB) ForgetDevices(ctx context.Context, agent string) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"device_approvals", "device_lists"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE agent = ?`, agent); err != nil {
				return fmt.Errorf("forget the devices of %s: %w", agent, err)
			}
		}
		return nil
	})
}
