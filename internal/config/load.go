package config

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/secret"
)

const (
	devVars   = ".dev.vars"
	dataName  = "MOLTWORKER_DATA"
	ourPrefix = "MOLTWORKER_"
	// testPrefix is left to tests and benchmarks.
	testPrefix = "MOLTWORKER_TEST_"
)

// Overrides are what the command line says. Empty fields say nothing.
type Overrides struct {
	ConfigFile string // --config
	Data       string // --data
	Listen     string // --listen
	Sandbox    string // --sandbox
	Demo       bool   // --demo
}

// Process is what settings depend on besides files.
type Process struct {
	Environ []string // NAME=value, as os.Environ gives it
	Root    bool     // runs as root
}

// Load reads and checks the settings of this process. Its error is a [Problems]
// with all that is wrong; the Config must not be used then.
func Load(over Overrides) (Config, error) {
	return LoadFrom(over, Process{Environ: os.Environ(), Root: os.Geteuid() == 0})
}

// LoadFrom is [Load] for a process that is described.
func LoadFrom(over Overrides, proc Process) (Config, error) {
	var problems Problems
	c := defaults(proc, &problems)
	var file layer
	if over.ConfigFile != "" {
		file = readConfigFile(over.ConfigFile, &c, &problems)
	}
	given := merge(file, environment(proc.Environ, &problems), flags(over))

	// The data directory comes first: there is more to read in it.
	if c.applyData(given, &problems) {
		vars := readDevVars(&c, &problems)
		if s, ok := vars[dataName]; ok {
			problems.add(dataName, s.origin, errors.New("this file is found by the data directory and cannot name it: use --data, --config or the environment"))
		}
		given = merge(vars, given)
	}
	delete(given, dataName)
	c.apply(given, &problems)
	c.check(&problems)
	if len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// applyData settles the data directory, and says whether it could.
func (c *Config) applyData(given layer, p *Problems) bool {
	before := len(*p)
	if s, ok := given[dataName]; ok {
		c.apply(layer{dataName: s}, p)
	}
	if c.Data == "" {
		p.add(dataName, "default", errors.New("there is no home directory to put the data in: set it, or name a directory with --data"))
	}
	return len(*p) == before
}

// apply sets what the layer says, in the order of the table.
func (c *Config) apply(l layer, p *Problems) {
	for _, k := range table {
		s, ok := l[k.Name]
		if !ok {
			continue
		}
		c.given[k.Name] = s
		if err := k.set(c, s.value.Reveal()); err != nil {
			p.add(k.Name, s.origin, err)
		}
	}
}

// check looks at what settings mean together.
func (c *Config) check(p *Problems) {
	c.bothOrNone("MOLTWORKER_TLS_CERT", "MOLTWORKER_TLS_KEY", p)
	c.checkSignIn(p)
	c.checkStorage(p)
	c.chooseModel()
	if c.Cache == "" {
		p.add("MOLTWORKER_CACHE", "default", errors.New("there is no home directory to put the cache in: set it to a directory"))
	}
	if !c.listensLocally() && c.TLSCert == "" && len(c.TrustedProxies) == 0 {
		c.Warnings = append(c.Warnings, "MOLTWORKER_LISTEN is reachable from other machines and nothing encrypts what is sent: set MOLTWORKER_TLS_CERT and MOLTWORKER_TLS_KEY, or put an HTTPS proxy in front and name it in MOLTWORKER_TRUSTED_PROXIES")
	}
	if c.Memory != 0 && c.Scratch > c.Memory {
		c.Warnings = append(c.Warnings, "MOLTWORKER_SCRATCH is more than MOLTWORKER_MEMORY: scratch files take memory, so an agent runs out of it before its scratch space is full")
	}
}

func (c *Config) listensLocally() bool {
	host, _, _ := net.SplitHostPort(c.Listen)
	return isLoopback(host)
}

// merge puts layers together, the last one winning. An empty value is none.
func merge(layers ...layer) layer {
	all := layer{}
	for _, l := range layers {
		for name, s := range l {
			if s.value.IsSet() {
				all[name] = s
			}
		}
	}
	return all
}

// environment takes the known names out of environ.
func environment(environ []string, p *Problems) layer {
	found := layer{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case lookup(name) != nil:
			found[name] = setting{secret.NewValue(value), "environment"}
		case strings.HasPrefix(name, ourPrefix) && !strings.HasPrefix(name, testPrefix):
			p.unknown(name, "environment")
		}
	}
	return found
}

func flags(o Overrides) layer {
	found := layer{}
	demo := ""
	if o.Demo {
		demo = "true"
	}
	for _, f := range []struct{ name, flag, value string }{
		{dataName, "--data", o.Data},
		{"MOLTWORKER_LISTEN", "--listen", o.Listen},
		{"MOLTWORKER_SANDBOX", "--sandbox", o.Sandbox},
		{"MOLTWORKER_DEMO", "--demo", demo},
	} {
		found[f.name] = setting{secret.NewValue(f.value), f.flag}
	}
	return found
}

// defaults is a Config that nobody said anything about.
func defaults(proc Process, p *Problems) Config {
	c := Config{given: map[string]setting{}}
	for _, k := range table {
		if k.Default == "" {
			continue
		}
		if err := k.set(&c, k.Default); err != nil {
			p.add(k.Name, "default", err)
		}
	}
	c.Data = place(proc, "XDG_DATA_HOME", ".local/share", "/var/lib")
	c.Cache = place(proc, "XDG_CACHE_HOME", ".cache", "")
	return c
}

// place is the directory for one kind of files, or "" when it cannot be known.
func place(proc Process, xdg, inHome, ofRoot string) string {
	if dir := lookupEnv(proc.Environ, xdg); filepath.IsAbs(dir) {
		return filepath.Join(dir, "moltworker")
	}
	if proc.Root && ofRoot != "" {
		return filepath.Join(ofRoot, "moltworker")
	}
	if home := lookupEnv(proc.Environ, "HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome, "moltworker")
	}
	return ""
}

func lookupEnv(environ []string, name string) string {
	for _, pair := range slices.Backward(environ) {
		if n, value, _ := strings.Cut(pair, "="); n == name {
			return value
		}
	}
	return ""
}

// lookup finds a name in the table.
func lookup(name string) *Key {
	for i := range table {
		if table[i].Name == name {
			return &table[i]
		}
	}
	return nil
}

// WithoutSecrets is environ without the names that hold secrets: for programs
// that this one starts and that need none.
func WithoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		k := lookup(name)
		return k != nil && k.Secret
	})
}
