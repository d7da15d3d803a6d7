package admin_test

import (
	"testing"

	"github.com/moltworker/moltworker/internal/admin/admintest"
)

// Somebody can see what a call would try before it is made, and that a route does not
// hold where its conditions do not.
func TestModelRoute(t *testing.T) {
	w, _ := withModels(t)
	ctx := admintest.Owner(t.Context())
	found, err := w.ModelRoute(ctx, "anthropic/claude-x", "ada", "user", nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.Route != "careful" || len(found.Steps) != 3 || len(found.Routes) != 2 {
		t.Fatalf("%+v", found)
	}
	first, split, last := found.Steps[0], found.Steps[1], found.Steps[2]
	if first.Model != "anthropic/claude-x" || first.Timeout != 30_000 || first.Retries != 1 || first.Arm != nil {
		t.Errorf("first: %+v", first)
	}
	if split.Model != "openai/gpt-5.5" || split.Arm == nil || *split.Arm != 0 || split.On != "limited unavailable timeout unauthorized" || split.Retries != -1 {
		t.Errorf("second: %+v", split)
	}
	if last.Number != 3 || last.On != "any" {
		t.Errorf("third: %+v", last)
	}
	if other, err := w.ModelRoute(ctx, "anthropic/claude-x", "ada", "cron", nil); err != nil || other.Route != "" || len(other.Steps) != 0 {
		t.Errorf("of a job: %+v, %v", other, err)
	}
	if named, err := w.ModelRoute(ctx, "dynamic/cheap", "ada", "", nil); err != nil || named.Route != "cheap" {
		t.Errorf("by name: %+v, %v", named, err)
	}
}
