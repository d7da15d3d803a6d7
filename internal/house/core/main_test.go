package main

import (
	"slices"
	"testing"
)

func TestCoreLeavesHeavyTestsOut(t *testing.T) {
	got := core([]goPackage{
		{ImportPath: module + "internal/secret", Deps: []string{"fmt"}},
		{ImportPath: module + "internal/sandbox/sandboxtest", Deps: []string{"testing"}},
		{ImportPath: module + "internal/sandbox/gvisor", Deps: []string{"gvisor.dev/gvisor/runsc/boot"}},
		{ImportPath: module + "internal/sandbox/process", XTestImports: []string{module + "internal/sandbox/sandboxtest"}},
		{ImportPath: module + "internal/server", Deps: []string{module + "internal/sandbox/gvisor", "gvisor.dev/gvisor/runsc/boot"}},
		{ImportPath: module + "internal/agent", TestImports: []string{module + "internal/fake"}},
		{ImportPath: module + "internal/fake", Deps: []string{module + "internal/openclaw/openclawtest"}},
		{ImportPath: module + "internal/edge", TestImports: []string{"net/http/httptest"}},
		{ImportPath: module + "test/end2end"},
		{ImportPath: module + "bench"},
	})
	if want := []string{module + "internal/secret", module + "internal/edge"}; !slices.Equal(got, want) {
		t.Errorf("core = %q, want %q", got, want)
	}
}
