// Command configdoc writes docs/configuration.md from the table of settings:
//
//	go generate ./internal/config
package main

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moltworker/moltworker/internal/config"
)

//go:embed intro.md
var intro string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "configdoc: want the name of the file to write")
		os.Exit(2)
	}
	var doc strings.Builder
	write(&doc)
	if err := os.WriteFile(os.Args[1], []byte(doc.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "configdoc:", err)
		os.Exit(1)
	}
}

func write(w io.Writer) {
	io.WriteString(w, intro)
	for _, g := range groups() {
		fmt.Fprintf(w, "\n## %s\n\n| name | what | written as | without it |\n|---|---|---|---|\n", g)
		for _, k := range config.Keys() {
			if k.Group == g {
				fmt.Fprintln(w, row(k))
			}
		}
	}
}

// groups are the headings, each once, in the order of the table.
func groups() []string {
	var names []string
	seen := map[string]bool{}
	for _, k := range config.Keys() {
		if !seen[k.Group] {
			seen[k.Group] = true
			names = append(names, k.Group)
		}
	}
	return names
}

func row(k config.Key) string {
	name := "`" + k.Name + "`"
	if k.Flag != "" {
		name += "<br>`" + k.Flag + "`"
	}
	what := k.Meaning
	if k.Secret {
		what += " (secret)"
	}
	if k.Later != "" {
		what += "; *not used by this version*"
	}
	without := k.Absent
	if k.Default != "" {
		without = "`" + k.Default + "`"
	}
	cells := []string{name, what, k.Form, without}
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}
