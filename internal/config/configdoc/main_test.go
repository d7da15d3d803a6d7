package main

import (
	"os"
	"strings"
	"testing"
)

func TestDocumentationIsCurrent(t *testing.T) {
	const path = "../../../docs/configuration.md"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	write(&want)
	if string(have) != want.String() {
		t.Errorf("%s does not say what the table of settings says: run go generate ./internal/config", path)
	}
}
