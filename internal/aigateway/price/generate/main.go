// Command generate makes the embedded table of prices from two published npm
// packages, and copies their licences beside it. It runs the user's npm and node,
// and refuses a package whose bytes are not the pinned ones. After changing a
// version, change its integrity and date too:
//
//	npm view NAME@VERSION dist.integrity
//	npm view NAME time
//
// How the two are joined is said in join.go.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is one package that prices come from.
type source struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Date      string `json:"date"` // its prices are of
	Integrity string `json:"integrity"`
	Licence   string `json:"licence"`
}

var (
	genaiSource = source{
		Name: "@pydantic/genai-prices", Version: "0.1.8", Date: "2026-09-23", Licence: "MIT",
		Integrity: "sha512-h7CYw6qTyflG2zUndO8tXyL8Xopf+tX9JZu13h0ZFgeyYj+J2gm1edR4+R+mbQ2vPdkFjtTmmmu1cYQPM5/KTA==",
	}
	piSource = source{
		Name: "@earendil-works/pi-ai", Version: "1.5.2", Date: "2026-11-10", Licence: "MIT",
		Integrity: "sha512-2tWPSnV3qzfiDIY3aWluBag3vC++Vs+VsXt/UquSU5onPMohPih72FUhIhaqmDdMYubOgB3Byl9uF4Vk40JLvQ==",
	}
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate DIRECTORY")
	}
	if err := generate(os.Args[1]); err != nil {
		log.Fatalf("generate prices: %v", err)
	}
}

func generate(out string) error {
	genai, err := fetch(genaiSource)
	if err != nil {
		return err
	}
	pi, err := fetch(piSource)
	if err != nil {
		return err
	}
	rows, err := readGenai(genai)
	if err != nil {
		return fmt.Errorf("%s: %w", genaiSource.Name, err)
	}
	offers, err := readPi(pi)
	if err != nil {
		return fmt.Errorf("%s: %w", piSource.Name, err)
	}
	rows, err = join(rows, offers)
	if err != nil {
		return err
	}
	if err := writeTable(filepath.Join(out, "table.jsonl"), rows); err != nil {
		return err
	}
	return writeLicences(out, genai, pi)
}

// writeTable writes a line of what the table is and one for each model, in the
// order of provider and model: a later version then shows as changed lines.
func writeTable(name string, rows []*row) error {
	slices.SortFunc(rows, func(a, b *row) int {
		if c := strings.Compare(a.Provider, b.Provider); c != 0 {
			return c
		}
		return strings.Compare(a.Model, b.Model)
	})
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	head := struct {
		Format  int      `json:"format"`
		Date    string   `json:"date"`
		Sources []source `json:"sources"`
	}{1, piSource.Date, []source{genaiSource, piSource}}
	if err := e.Encode(head); err != nil {
		return err
	}
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	log.Printf("%d models, %d bytes", len(rows), b.Len())
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// writeLicences copies the notices that both licences ask for. pi-ai's package has
// the name of the licence and of the author only, and no file of it; its terms are
// the same as the other's.
func writeLicences(out string, genai, pi map[string][]byte) error {
	text := genai["package/LICENSE"]
	_, terms, ok := bytes.Cut(text, []byte("Permission is hereby granted"))
	if !ok {
		return fmt.Errorf("%s: its licence is not the MIT licence any more", genaiSource.Name)
	}
	var about struct{ Author, License string }
	if err := json.Unmarshal(pi["package/package.json"], &about); err != nil {
		return err
	}
	if about.License != "MIT" || about.Author == "" {
		return fmt.Errorf("%s: licence %q of %q, not MIT", piSource.Name, about.License, about.Author)
	}
	if err := os.WriteFile(filepath.Join(out, "LICENSE-genai-prices"), text, 0o644); err != nil {
		return err
	}
	notice := fmt.Sprintf("The MIT License (MIT)\n\nCopyright (c) %s\n\nPermission is hereby granted%s", about.Author, terms)
	return os.WriteFile(filepath.Join(out, "LICENSE-pi-ai"), []byte(notice), 0o644)
}
