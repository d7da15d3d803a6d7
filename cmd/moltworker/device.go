package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/remedy"
)

func deviceCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Let browsers, programs and chat senders use an agent, or no longer",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	d := &deviceOptions{globalOptions: opts}
	cmd.PersistentFlags().StringVar(&d.agent, "agent", "main", "the agent whose devices are meant")
	const request = "the request; `moltworker device ls` lists them"
	const device = "the device's ID or the beginning of it; `moltworker device ls` lists them"
	add := func(use, short string, args cobra.PositionalArgs, run func(context.Context, *client.Client, []string, io.Writer) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(opts)
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args, cmd.OutOrStdout())
		}})
	}
	add("ls", "List waiting and paired devices and waiting senders", cobra.NoArgs, d.list)
	add("approve REQUEST", "Let a waiting device in, or a sender", exactly(1, request), d.approve)
	add("approve-all", "Let every waiting device in", cobra.NoArgs, d.approveAll)
	add("reject REQUEST", "Turn a waiting device away, or a sender", exactly(1, request), d.reject)
	add("rename DEVICE NAME", "Give a paired device a name", exactly(2, device+", and its name"), d.rename)
	add("rm DEVICE", "Take a paired device's access away and close its connections", exactly(1, device), d.remove)
	return cmd
}

// deviceOptions are what every device command takes.
type deviceOptions struct {
	*globalOptions
	agent string
}

func (d *deviceOptions) list(ctx context.Context, c *client.Client, _ []string, out io.Writer) error {
	devices, err := c.Devices(ctx, d.agent)
	if err != nil {
		return err
	}
	if d.json {
		return printJSON(out, devices)
	}
	if !devices.Reachable {
		fmt.Fprintf(out, "%s\n", asSeen(devices))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STATE\tREQUEST\tDEVICE\tNAME\tCLIENT\tPLATFORM\tFROM\tAGE\tBY")
	for _, p := range devices.Pending {
		fmt.Fprintf(table, "waiting\t%s\t%.12s\t%s\t%s\t%s\t%s\t%s\t\n", p.RequestID, p.DeviceID, orDash(p.Name), p.Client, p.Platform, p.Address, age(p.Asked))
	}
	for _, s := range devices.Senders {
		fmt.Fprintf(table, "waiting\t%s\t%s\t%s\t%s\t%s\t-\t%s\t\n", s.RequestID, s.SenderID, orDash(s.Label), s.Channel, s.Account, age(s.Asked))
	}
	for _, p := range devices.Paired {
		state := "paired"
		if p.Connected {
			state = "connected"
		}
		fmt.Fprintf(table, "%s\t-\t%.12s\t%s\t%s\t%s\t%s\t%s\t%s\n", state, p.DeviceID, orDash(p.Name), p.Client, p.Platform, p.Address, age(p.Approved), by(p))
	}
	return table.Flush()
}

// asSeen says why a list is not of now.
func asSeen(d admin.Devices) string {
	if d.Seen.IsZero() {
		return fmt.Sprintf("agent %s is %s and its devices were never listed before", d.Agent, d.State)
	}
	return fmt.Sprintf("agent %s is %s; its devices as of %s:", d.Agent, d.State, d.Seen.Local().Format(time.DateTime))
}

func by(p admin.PairedDevice) string {
	if p.How == admin.HowAutomatic {
		return p.ApprovedBy + " (automatic)"
	}
	return p.ApprovedBy
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (d *deviceOptions) approve(ctx context.Context, c *client.Client, args []string, out io.Writer) error {
	sender, ok, err := d.sender(ctx, c, args[0])
	if err != nil {
		return err
	}
	if ok {
		if err := c.ApproveSender(ctx, d.agent, sender.Channel, sender.Account, sender.RequestID); err != nil {
			return err
		}
		return d.tell(out, sender, "%s may write by %s", sender.SenderID, sender.Channel)
	}
	approved, err := c.Approve(ctx, d.agent, args[0])
	if err != nil {
		return err
	}
	return d.tell(out, approved, "paired %.12s; its page goes on by itself", approved.DeviceID)
}

// sender finds the sender who waits under a request.
func (d *deviceOptions) sender(ctx context.Context, c *client.Client, request string) (admin.Sender, bool, error) {
	devices, err := c.Devices(ctx, d.agent)
	for _, s := range devices.Senders {
		if s.RequestID == request {
			return s, true, nil
		}
	}
	return admin.Sender{}, false, err
}

func (d *deviceOptions) approveAll(ctx context.Context, c *client.Client, _ []string, out io.Writer) error {
	all, err := c.ApproveAll(ctx, d.agent)
	if err != nil {
		return err
	}
	if err := d.tell(out, all, "%s", all.Message); err != nil {
		return err
	}
	var failed []error
	for _, f := range all.Failed {
		failed = append(failed, fmt.Errorf("%s: %s", f.RequestID, f.Error))
	}
	return errors.Join(failed...)
}

func (d *deviceOptions) reject(ctx context.Context, c *client.Client, args []string, out io.Writer) error {
	sender, ok, err := d.sender(ctx, c, args[0])
	switch {
	case err != nil:
		return err
	case ok:
		err = c.DismissSender(ctx, d.agent, sender.Channel, sender.Account, sender.RequestID)
	default:
		err = c.Reject(ctx, d.agent, args[0])
	}
	if err != nil {
		return err
	}
	return d.tell(out, map[string]string{"rejected": args[0]}, "turned away")
}

func (d *deviceOptions) rename(ctx context.Context, c *client.Client, args []string, out io.Writer) error {
	device, err := d.paired(ctx, c, args[0])
	if err == nil {
		err = c.Rename(ctx, d.agent, device, args[1])
	}
	if err != nil {
		return err
	}
	return d.tell(out, map[string]string{"deviceId": device, "displayName": args[1]}, "%.12s is called %s", device, args[1])
}

func (d *deviceOptions) remove(ctx context.Context, c *client.Client, args []string, out io.Writer) error {
	device, err := d.paired(ctx, c, args[0])
	if err == nil {
		err = c.Revoke(ctx, d.agent, device)
	}
	if err != nil {
		return err
	}
	return d.tell(out, map[string]string{"revoked": device}, "%.12s may no longer; its connections are closed", device)
}

// paired finds the ID of the one device that begins with what was given, since the
// list shows no more of it.
func (d *deviceOptions) paired(ctx context.Context, c *client.Client, given string) (string, error) {
	devices, err := c.Devices(ctx, d.agent)
	if err != nil {
		return "", err
	}
	var found []string
	for _, p := range devices.Paired {
		if given != "" && strings.HasPrefix(p.DeviceID, given) {
			found = append(found, p.DeviceID)
		}
	}
	switch len(found) {
	case 0:
		return given, nil // the list may be an old one; the agent knows
	case 1:
		return found[0], nil
	}
	return "", usageError{remedy.With(fmt.Errorf("%d devices begin with %s", len(found), given), "give more of its ID; `moltworker device ls --json` has all of it")}
}

// tell prints a result, or what it is in words.
func (d *deviceOptions) tell(out io.Writer, result any, words string, args ...any) error {
	if d.json {
		return printJSON(out, result)
	}
	_, err := fmt.Fprintf(out, words+"\n", args...)
	return err
}
