package config

import (
	"slices"
	"testing"
	"time"
)

func TestModelLimits(t *testing.T) {
	var c Config
	if err := modelLimits(&c, "60/1m, 500000t/1h"); err != nil {
		t.Fatal(err)
	}
	if want := []ModelLimit{{Requests: 60, Per: time.Minute}, {Tokens: 500_000, Per: time.Hour}}; !slices.Equal(c.ModelLimits, want) {
		t.Errorf("%+v, want %+v", c.ModelLimits, want)
	}
	for _, bad := range []string{"60", "60/x", "0/1m", "-1/1m", "t/1m", "60/1ms", "60/1000h", "1/1s,1/1s,1/1s,1/1s,1/1s,1/1s,1/1s,1/1s,1/1s"} {
		if err := modelLimits(&c, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if err := modelCalls(&c, "8"); err != nil || c.ModelCalls != 8 {
		t.Errorf("%v, %d", err, c.ModelCalls)
	}
	if err := modelCalls(&c, "many"); err == nil {
		t.Error("a word was taken for a number")
	}
}

func TestTheGatewaysModelCountsWhereNoneIsChosen(t *testing.T) {
	var c Config
	if err := gatewayModel(&c, "workers-ai/@cf/meta/llama-4"); err != nil {
		t.Fatal(err)
	}
	c.chooseModel()
	if c.Model != "workers-ai/@cf/meta/llama-4" {
		t.Errorf("it is %q", c.Model)
	}
	c.Model = "anthropic/claude-x"
	if c.chooseModel(); c.Model != "anthropic/claude-x" {
		t.Errorf("a chosen one became %q", c.Model)
	}
	if err := gatewayModel(&c, "llama"); err == nil {
		t.Error("a model without a provider was taken")
	}
}
