package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A counter runs inside and counts in its memory. Each number it leaves as an
// empty file NUMBER-TIME in a directory of the home that is named after its life:
// an image that is brought back twice makes a number of one life twice, at
// another time.
const counter = `
const fs = require("fs"), life = require("crypto").randomUUID();
const dir = process.argv[2] + "/" + life;
fs.mkdirSync(dir, {recursive: true});
fs.writeFileSync("/tmp/bench-life", life);
let n = 0;
setInterval(() => { n++; fs.writeFileSync(dir + "/" + n + "-" + Date.now(), ""); }, 100);
`

const countersHome = "bench-lives"

// startCounter leaves a counter running inside, and gives its life.
func (s *stage) startCounter(ctx context.Context) (life string, err error) {
	script := `mkdir -p ~/` + countersHome + ` && cat > ~/bench-counter.js <<'END'` + counter + `
END
rm -f /tmp/bench-life
setsid node ~/bench-counter.js ~/` + countersHome + ` </dev/null >/dev/null 2>&1 &
for i in $(seq 200); do [ -s /tmp/bench-life ] && break; sleep 0.1; done
cat /tmp/bench-life`
	return s.inside(ctx, script)
}

// counts expects that the counter of a life is at work: that it makes new
// numbers.
func (s *stage) counts(ctx context.Context, life string) error {
	first := s.lastNumber(life)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for s.lastNumber(life) < first+3 {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the counter inside stands at %d: %w", s.lastNumber(life), err)
		}
	}
	return nil
}

func (s *stage) lastNumber(life string) (last int) {
	entries, _ := os.ReadDir(s.home(countersHome, life))
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(number); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// twins finds numbers of a life that were made twice: some image was brought back
// to life twice. It says how many lives and numbers there were.
func (s *stage) twins() (lives, numbers int, err error) {
	dirs, err := os.ReadDir(s.home(countersHome))
	if err != nil {
		return 0, 0, err
	}
	for _, d := range dirs {
		lives++
		entries, err := os.ReadDir(s.home(countersHome, d.Name()))
		if err != nil {
			return lives, numbers, err
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		numbers += len(names)
		if twice := repeated(names); len(twice) > 0 {
			return lives, numbers, fmt.Errorf("life %s made numbers twice: %.300v", d.Name(), twice)
		}
	}
	return lives, numbers, nil
}

// repeated are the names NUMBER-TIME whose number is there more than once.
func repeated(names []string) []string {
	by := map[string][]string{}
	for _, name := range names {
		number, _, _ := strings.Cut(name, "-")
		by[number] = append(by[number], name)
	}
	var twice []string
	for _, names := range by {
		if len(names) > 1 {
			twice = append(twice, names...)
		}
	}
	slices.Sort(twice)
	return twice
}
