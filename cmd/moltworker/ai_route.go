package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func aiRouteCommand(opts *globalOptions) *cobra.Command {
	var agent, trigger string
	var metadata []string
	cmd := ask(opts, "route PROVIDER/MODEL", "Say what a call of a model would try, by the routes of routes.json", exactly(1, "one model, like anthropic/claude-sonnet-5-5, or dynamic/NAME"), func(a asked) error {
		found, err := a.client.ModelRoute(a.ctx, a.args[0], agent, trigger, metadata)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, found)
		}
		if found.Route == "" {
			fmt.Fprintf(a.out, "no route: the call goes to %s and nowhere else\n", shown(a.args[0], 128))
			if len(found.Routes) > 0 {
				fmt.Fprintf(a.out, "routes: %s\n", strings.Join(found.Routes, ", "))
			}
			return nil
		}
		fmt.Fprintf(a.out, "route %s\n", found.Route)
		rows := []string{"STEP\tMODEL\tAFTER\tWAITS\tRETRIES"}
		for _, s := range found.Steps {
			waits, retries, after := "as usual", "as asked", s.On
			if s.Timeout > 0 {
				waits = (time.Duration(s.Timeout) * time.Millisecond).String()
			}
			if s.Retries >= 0 {
				retries = fmt.Sprint(s.Retries)
			}
			if s.Number == 1 {
				after = "-"
			}
			rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s\t%s", s.Number, shown(s.Model, 128), after, waits, retries))
		}
		return a.table(rows...)
	})
	cmd.Flags().StringVar(&agent, "agent", "main", "by this agent")
	cmd.Flags().StringVar(&trigger, "trigger", "", "for this reason: user, channel, heartbeat, cron, subagent")
	cmd.Flags().StringArrayVar(&metadata, "metadata", nil, "with this metadata, NAME=VALUE")
	return cmd
}
