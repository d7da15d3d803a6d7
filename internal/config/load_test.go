package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/secret"
)

// world is a home with a data directory, and what the process is started with.
type world struct {
	t    *testing.T
	home string
	proc Process
	over Overrides
}

func newWorld(t *testing.T, environ ...string) *world {
	home := t.TempDir()
	return &world{t: t, home: home, proc: Process{Environ: append([]string{"HOME=" + home}, environ...)}}
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) devVars(text string) string {
	return w.write(".local/share/moltworker/.dev.vars", text)
}

func (w *world) load() Config {
	w.t.Helper()
	c, err := LoadFrom(w.over, w.proc)
	if err != nil {
		w.t.Fatalf("load: %v", err)
	}
	return c
}

// complaints are the lines of the error, with the home's path taken out.
func (w *world) complaints() []string {
	w.t.Helper()
	_, err := LoadFrom(w.over, w.proc)
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrInvalid) {
		w.t.Errorf("the error is not ErrInvalid: %v", err)
	}
	return strings.Split(strings.ReplaceAll(err.Error(), w.home, "~"), "\n")
}

func TestDefaults(t *testing.T) {
	w := newWorld(t)
	got := w.load()
	want := Config{
		Data: w.home + "/.local/share/moltworker", Cache: w.home + "/.cache/moltworker",
		Listen: "127.0.0.1:8787", Agents: []string{"main"}, Sandbox: "auto",
		Memory: 3 << 30, PIDs: 4096, Scratch: 1 << 30, BootTimeout: 5 * time.Minute, LogLevel: slog.LevelWarn,
		SleepAfter: 10 * time.Minute, ImageSeal: "auto", ImageCompressAfter: time.Hour, ImageSpace: 20 << 30, AutoPair: true,
		TelegramDMPolicy: "pairing", DiscordDMPolicy: "pairing", R2Bucket: "moltbot-data",
		Backup: Backup{Region: "us-east-1"}, BackupKeep: Keep{24, 24, 14, 8, 12}, BackupDrill: 168 * time.Hour,
		given: map[string]setting{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Origin("MOLTWORKER_LISTEN") != "default" || got.Unused() != nil {
		t.Errorf("origin %q, unused %q", got.Origin("MOLTWORKER_LISTEN"), got.Unused())
	}
}

func TestWhereDataAndCacheAre(t *testing.T) {
	for name, c := range map[string]struct {
		proc        Process
		data, cache string
	}{
		"user":          {Process{Environ: []string{"HOME=/home/u"}}, "/home/u/.local/share/moltworker", "/home/u/.cache/moltworker"},
		"xdg":           {Process{Environ: []string{"HOME=/home/u", "XDG_DATA_HOME=/d", "XDG_CACHE_HOME=/c"}}, "/d/moltworker", "/c/moltworker"},
		"relative xdg":  {Process{Environ: []string{"HOME=/home/u", "XDG_DATA_HOME=d", "XDG_CACHE_HOME=c"}}, "/home/u/.local/share/moltworker", "/home/u/.cache/moltworker"},
		"root":          {Process{Environ: []string{"HOME=/root"}, Root: true}, "/var/lib/moltworker", "/root/.cache/moltworker"},
		"root, xdg":     {Process{Environ: []string{"HOME=/root", "XDG_DATA_HOME=/d"}, Root: true}, "/d/moltworker", "/root/.cache/moltworker"},
		"root, no home": {Process{Environ: []string{"MOLTWORKER_CACHE=/c"}, Root: true}, "/var/lib/moltworker", "/c"},
		"named":         {Process{Environ: []string{"MOLTWORKER_DATA=/x/../d", "MOLTWORKER_CACHE=/c/"}}, "/d", "/c"},
	} {
		got, err := LoadFrom(Overrides{}, c.proc)
		if err != nil || got.Data != c.data || got.Cache != c.cache {
			t.Errorf("%s: data %q, cache %q, %v; want %q, %q", name, got.Data, got.Cache, err, c.data, c.cache)
		}
	}
	if _, err := LoadFrom(Overrides{}, Process{}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("without a home: %v, want two problems", err)
	}
}

func TestEachSourceOverrulesTheOnesBefore(t *testing.T) {
	w := newWorld(t)
	w.devVars("MOLTWORKER_LISTEN=127.0.0.1:1\nMOLTWORKER_SANDBOX=gvisor\nMOLTWORKER_AGENTS=a\nMOLTWORKER_PIDS=600\n")
	w.over.ConfigFile = w.write("conf", "MOLTWORKER_LISTEN=127.0.0.1:2\nMOLTWORKER_SANDBOX=process\nMOLTWORKER_AGENTS=b\nMOLTWORKER_PIDS=\n")
	w.proc.Environ = append(w.proc.Environ, "MOLTWORKER_LISTEN=127.0.0.1:3", "MOLTWORKER_SANDBOX=auto", "MOLTWORKER_AGENTS=")
	w.over.Listen = "127.0.0.1:4"
	c := w.load()
	if c.Listen != "127.0.0.1:4" || c.Sandbox != "auto" || !slices.Equal(c.Agents, []string{"main", "b"}) || c.PIDs != 600 {
		t.Errorf("listen %s, sandbox %s, agents %s, pids %d", c.Listen, c.Sandbox, c.Agents, c.PIDs)
	}
	for name, want := range map[string]string{
		"MOLTWORKER_LISTEN":  "--listen",
		"MOLTWORKER_SANDBOX": "environment",
		"MOLTWORKER_AGENTS":  w.over.ConfigFile + ":3",
		"MOLTWORKER_PIDS":    c.Data + "/.dev.vars:4",
		"MOLTWORKER_MEMORY":  "default",
	} {
		if got := c.Origin(name); got != want {
			t.Errorf("origin of %s is %q, want %q", name, got, want)
		}
	}
}

func TestDevVarsAreReadFromTheChosenDataDirectory(t *testing.T) {
	w := newWorld(t)
	w.write("other/.dev.vars", "WORKER_URL=https://Agent.Example.com/\n")
	w.over.ConfigFile = w.write("conf", "MOLTWORKER_DATA="+w.home+"/other\n")
	if c := w.load(); c.PublicURL != "https://agent.example.com" {
		t.Errorf("public URL %q", c.PublicURL)
	}
	w.over = Overrides{Data: filepath.Join(w.home, "other")}
	if c := w.load(); c.PublicURL != "https://agent.example.com" {
		t.Errorf("public URL %q", c.PublicURL)
	}
	w.write("other/.dev.vars", "MOLTWORKER_DATA=/elsewhere\n")
	if got := w.complaints(); len(got) != 1 || !strings.Contains(got[0], "cannot name it") {
		t.Errorf("complaints: %q", got)
	}
}

func TestRightValues(t *testing.T) {
	w := newWorld(t)
	cert := w.write("cert.pem", "x")
	w.devVars(`# all of them
MOLTWORKER_LISTEN=[::1]:0
MOLTWORKER_BASE_DOMAIN=Agents.Example.com.
MOLTWORKER_TLS_CERT=` + cert + `
MOLTWORKER_TLS_KEY=` + cert + `
MOLTWORKER_TRUSTED_PROXIES="10.1.2.3/8, 192.0.2.7,fd00::1"
MOLTWORKER_SANDBOX=process
MOLTWORKER_AGENTS=work, play
MOLTWORKER_MODEL=openai/gpt-x:free
MOLTWORKER_MEMORY=1.5gib
MOLTWORKER_CPUS=1.5
MOLTWORKER_PIDS=0
MOLTWORKER_SCRATCH=512 MB
MOLTWORKER_BOOT_TIMEOUT=1m30s
MOLTWORKER_LOG_LEVEL=Debug
MOLTWORKER_DEMO=yes
SANDBOX_SLEEP_AFTER=90m
MOLTWORKER_POOL=3
MOLTWORKER_IMAGE_SEAL=always
MOLTWORKER_IMAGE_COMPRESS_AFTER=never
MOLTWORKER_IMAGE_SPACE=0
AI_GATEWAY_BASE_URL=https://GW.example.com:8443/v1/a/g/anthropic//
MOLTWORKER_ADMIN_URL=https://Admin.example.com/_admin/
MOLTWORKER_AUTO_PAIR=no
CF_ACCESS_TEAM_DOMAIN=https://Team.cloudflareaccess.com/
CF_ACCESS_AUD=0123abcd
MOLTWORKER_ACCESS_ALLOW="Ann@Example.com, @staff.example,0f2e.access"
MOLTWORKER_OIDC_ISSUER=https://auth.example.com/application/o/moltworker/
MOLTWORKER_OIDC_CLIENT_ID=moltworker
MOLTWORKER_OIDC_CLIENT_SECRET=hunter22
MOLTWORKER_OIDC_ALLOW=ann+x@example.com,@Example.com
DEBUG_ROUTES=true
DEV_MODE=true
`)
	c := w.load()
	want := Config{
		Listen: "[::1]:0", BaseDomain: "agents.example.com", TLSCert: cert, TLSKey: cert,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("fd00::1/128")},
		Sandbox:        "process", Agents: []string{"main", "work", "play"}, Model: "openai/gpt-x:free",
		Memory: 3 << 29, CPUs: 1.5, Scratch: 512e6, BootTimeout: 90 * time.Second, LogLevel: slog.LevelDebug, Demo: true,
		SleepAfter: 90 * time.Minute, Pool: 3, ImageSeal: "always", AIGatewayBaseURL: "https://gw.example.com:8443/v1/a/g/anthropic",
		AdminURL: "https://admin.example.com", AccessTeamDomain: "team.cloudflareaccess.com", AccessAudience: "0123abcd",
		AccessAllow: []string{"ann@example.com", "@staff.example", "0f2e.access"},
		OIDCIssuer:  "https://auth.example.com/application/o/moltworker/", OIDCClientID: "moltworker", OIDCClientSecret: c.OIDCClientSecret,
		OIDCAllow: []string{"ann+x@example.com", "@example.com"}, DebugRoutes: true, DevMode: true, Warnings: c.Warnings,
		Data: c.Data, Cache: c.Cache, TelegramDMPolicy: "pairing", DiscordDMPolicy: "pairing", R2Bucket: "moltbot-data",
		Backup: Backup{Region: "us-east-1"}, BackupKeep: Keep{24, 24, 14, 8, 12}, BackupDrill: 168 * time.Hour, given: c.given,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c.OIDCClientSecret.Reveal() != "hunter22" || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "DEV_MODE is on") {
		t.Errorf("secret %q, warnings %q", c.OIDCClientSecret.Reveal(), c.Warnings)
	}
}

func TestWrongValuesAreEachOneSentence(t *testing.T) {
	for setting, want := range map[string]string{
		"MOLTWORKER_LISTEN=8787":                      `"8787" is not an address to listen on: write ADDR:PORT`,
		"MOLTWORKER_LISTEN=localhost:http":            `from 0 to 65535`,
		"MOLTWORKER_LISTEN=1.2.3.4:99999":             `from 0 to 65535`,
		"MOLTWORKER_LISTEN=example.com:80":            `"example.com:80" is not an address`,
		"MOLTWORKER_BASE_DOMAIN=https://x.example":    `is not a DNS name`,
		"MOLTWORKER_BASE_DOMAIN=10.0.0.1":             `is not a DNS name`,
		"MOLTWORKER_TLS_CERT=/no/such/file":           `is not a file that can be found`,
		"MOLTWORKER_TLS_KEY=/":                        `is not a file but a directory`,
		"MOLTWORKER_TRUSTED_PROXIES=10.0.0.0/8,proxy": `"proxy" is not an address or a CIDR block`,
		"MOLTWORKER_SANDBOX=docker":                   `write auto, gvisor or process`,
		"MOLTWORKER_AGENTS=Work":                      `"Work" is not an agent's name`,
		"MOLTWORKER_AGENTS=a,../b":                    `"../b" is not an agent's name`,
		"MOLTWORKER_AGENTS=a,b,a":                     `each name once`,
		"MOLTWORKER_MODEL=gpt-4":                      `write PROVIDER/MODEL`,
		"MOLTWORKER_MODEL=Mistral/x":                  `write PROVIDER/MODEL`,
		"MOLTWORKER_MEMORY=3 gigs":                    `"3 gigs" is not a size: write a number with its unit from 1GiB to 1TiB`,
		"MOLTWORKER_MEMORY=3G":                        `is not a size`,
		"MOLTWORKER_MEMORY=512MiB":                    `is not a size that can be used here`,
		"MOLTWORKER_MEMORY=-1GiB":                     `is not a size`,
		"MOLTWORKER_MEMORY=999999999999999TiB":        `is not a size that can be used here`,
		"MOLTWORKER_CPUS=NaN":                         `is not a number of cores`,
		"MOLTWORKER_CPUS=1e3":                         `is not a number of cores`,
		"MOLTWORKER_CPUS=0.01":                        `is not a number of cores`,
		"MOLTWORKER_PIDS=100":                         `one from 512 to 1000000`,
		"MOLTWORKER_BOOT_TIMEOUT=5":                   `"5" is not a duration: write a time from 10s to 1h`,
		"MOLTWORKER_BOOT_TIMEOUT=1s":                  `is not a duration that can be used here`,
		"MOLTWORKER_LOG_LEVEL=loud":                   `write debug, info, warn or error`,
		"MOLTWORKER_DEMO=maybe":                       `write true or false`,
		"MOLTWORKER_CACHE=~/cache":                    `where ~ is not expanded: write the whole path`,
		"SANDBOX_SLEEP_AFTER=10 minutes":              `such as 10m or 1h30m, or never`,
		"SANDBOX_SLEEP_AFTER=-1h":                     `or never`,
		"MOLTWORKER_POOL=101":                         `a number from 0 to 100`,
		"MOLTWORKER_IMAGE_SEAL=yes":                   `write auto, always or never`,
		"MOLTWORKER_IMAGE_COMPRESS_AFTER=1s":          `or never`,
		"MOLTWORKER_IMAGE_SPACE=1MiB":                 `is not a size that can be used here`,
		"DEBUG_ROUTES=2":                              `write true or false`,
		"TELEGRAM_DM_POLICY=everybody":                `write pairing, allowlist, open or disabled`,
		"ANTHROPIC_BASE_URL=api.anthropic.com":        `write http://HOST/PATH or https://HOST/PATH`,
		"ANTHROPIC_BASE_URL=ftp://x":                  `write http://HOST/PATH or https://HOST/PATH`,
		"ANTHROPIC_BASE_URL=https://x:0/":             `a port that can be used`,
		"OPENAI_BASE_URL=https://user:hunter22@host/": `the URL holds a user`,
		"OPENAI_BASE_URL=https://host/?key=hunter22":  `the URL holds a user, a query`,
		"AI_GATEWAY_BASE_URL=https://gw/v1":           `write one that ends in /anthropic or /openai`,
		"WORKER_URL=https://host/path":                `is not an address without a path`,
		"R2_BUCKET_NAME=my bucket":                    `without spaces`,
		"MOLTBOT_GATEWAY_TOKEN=hunter22":              `the token is too short`,
		"ANTHROPIC_API_KEY= hunter22":                 `begins or ends with a space`,
		"OPENAI_API_KEY=hunter22\nX":                  `holds a line break`,
		"CDP_SECRET=hunter22\xff":                     `another character that no key has`,
		"MOLTWORKER_LITSEN=x":                         `did you mean MOLTWORKER_LISTEN?`,
		"MOLTWORKER_BASEDOMAIN=x":                     `did you mean MOLTWORKER_BASE_DOMAIN?`,
		"MOLTWORKER_PORT=80":                          `see docs/configuration.md`,
	} {
		w := newWorld(t, setting)
		name, _, _ := strings.Cut(setting, "=")
		got := w.complaints()
		if strings.HasPrefix(setting, "MOLTWORKER_TLS_") && len(got) == 2 && strings.Contains(got[1], "set both, or none") {
			got = got[:1]
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], name+" (environment): ") || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want one line with %q", setting, got, want)
		}
		if text := strings.Join(got, "\n"); strings.Contains(text, "hunter") {
			t.Errorf("%s: a secret is quoted: %s", name, text)
		}
	}
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	w := newWorld(t, "MOLTWORKER_PIDS=1", "MOLTWORKER_NOPE=1", "PATH=/bin", "MOLTWORKER_TEST_X=1")
	w.devVars("MOLTWORKER_MEMORY=lots\nANTHROPIC_KEY=sk-hunter22\n")
	w.over = Overrides{Sandbox: "vm", ConfigFile: w.write("conf", "just words\nDEV_MODE='true\n\nLISTEN=1\n")}
	want := []string{
		"~/conf:1: the line has no =",
		"~/conf:2: a quote is not closed",
		"LISTEN (~/conf:4): moltworker knows no such name, did you mean MOLTWORKER_LISTEN?",
		"MOLTWORKER_NOPE (environment): moltworker knows no such name: remove it",
		"ANTHROPIC_KEY (~/.local/share/moltworker/.dev.vars:2): moltworker knows no such name, did you mean ANTHROPIC_API_KEY?",
		`MOLTWORKER_SANDBOX (--sandbox): "vm" is not a choice: write auto, gvisor or process`,
		`MOLTWORKER_MEMORY (~/.local/share/moltworker/.dev.vars:1): "lots" is not a size`,
		`MOLTWORKER_PIDS (environment): "1" is not a number of processes`,
	}
	got := w.complaints()
	if len(got) != len(want) {
		t.Fatalf("%d complaints, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("complaint %d: %s\nwant             %s", i, got[i], want[i])
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.over.ConfigFile = filepath.Join(w.home, "none")
	if got := w.complaints(); len(got) != 1 || got[0] != "--config (~/none): the file cannot be opened (no such file or directory): name a file that this user may read" {
		t.Errorf("a missing file: %q", got)
	}
	w.over.ConfigFile = w.home
	if got := w.complaints(); len(got) != 1 || !strings.Contains(got[0], "is a directory") {
		t.Errorf("a directory: %q", got)
	}
	w.over.ConfigFile = w.write("big", strings.Repeat("#\n", maxFile/2)+"x")
	if got := w.complaints(); len(got) != 1 || !strings.Contains(got[0], "more than 1048576 bytes") {
		t.Errorf("an oversized file: %q", got)
	}
	w.over.ConfigFile = w.write("full", strings.Repeat("#\n", maxFile/2))
	if got := w.complaints(); got != nil {
		t.Errorf("a file of exactly the limit: %q", got)
	}
	w.over.ConfigFile = ""
	if err := os.MkdirAll(filepath.Join(w.home, ".local/share/moltworker/.dev.vars"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := w.complaints(); len(got) != 1 || !strings.Contains(got[0], "not a regular file") {
		t.Errorf("a directory for .dev.vars: %q", got)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const key = "sk-ant-hunter22-hunter22-hunter22"
	w := newWorld(t, "ANTHROPIC_API_KEY="+key)
	w.devVars("MOLTBOT_GATEWAY_TOKEN=" + key + "2\nTELEGRAM_BOT_TOKEN=123:" + key + "\n")
	c := w.load()
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "c", c, "p", &c)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), fmt.Sprintf("%+v", c.given), string(asJSON), log.String()} {
		if strings.Contains(text, "hunter") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
	if c.AnthropicKey.Reveal() != key || c.GatewayToken.Reveal() != key+"2" {
		t.Error("the secrets have not arrived")
	}
	if v, ok := c.Lookup("TELEGRAM_BOT_TOKEN"); !ok || v.Reveal() != "123:"+key {
		t.Error("Lookup does not find the secret")
	}
	if got := c.Secrets(); len(got) != 3 || got["ANTHROPIC_API_KEY"].Reveal() != key {
		t.Errorf("Secrets() = %v", got)
	}
	if got := c.Unused(); !slices.Equal(got, []string{"TELEGRAM_BOT_TOKEN"}) {
		t.Errorf("Unused() = %q", got)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestWarnings(t *testing.T) {
	w := newWorld(t, "MOLTWORKER_LISTEN=:8787", "MOLTWORKER_SCRATCH=4GiB", "MOLTBOT_GATEWAY_TOKEN=only-20-characters-x")
	w.over.ConfigFile = w.write("conf", "CDP_SECRET=x\n")
	if err := os.Chmod(w.over.ConfigFile, 0o644); err != nil {
		t.Fatal(err)
	}
	c := w.load()
	all := strings.Join(c.Warnings, "\n")
	for _, want := range []string{"chmod 600 " + w.over.ConfigFile, "shorter than 32", "nothing encrypts", "MOLTWORKER_SCRATCH is more"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning says %q in:\n%s", want, all)
		}
	}
	if len(c.Warnings) != 4 {
		t.Errorf("%d warnings, want 4:\n%s", len(c.Warnings), all)
	}
}

func TestWithoutSecrets(t *testing.T) {
	in := []string{"PATH=/bin", "ANTHROPIC_API_KEY=x", "ANTHROPIC_BASE_URL=y", "CDP_SECRET=z", "odd"}
	if got, want := WithoutSecrets(in), []string{"PATH=/bin", "ANTHROPIC_BASE_URL=y", "odd"}; !slices.Equal(got, want) || in[1] != "ANTHROPIC_API_KEY=x" {
		t.Errorf("WithoutSecrets = %q, want %q", got, want)
	}
}

func TestTheTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if seen[k.Name] || secret.ValidateName(k.Name) != nil {
			t.Errorf("%s is there twice, or is no name", k.Name)
		}
		seen[k.Name] = true
		if k.Meaning == "" || k.Form == "" || k.Group == "" || k.set == nil {
			t.Errorf("%s is not described: %+v", k.Name, k)
		}
		if strings.HasSuffix(k.Meaning, ".") || strings.Contains(k.Meaning, "|") {
			t.Errorf("%s: the meaning is not a phrase: %s", k.Name, k.Meaning)
		}
	}
}

func TestWhatIsSetForLaterIsNamed(t *testing.T) {
	w := newWorld(t)
	w.devVars("SANDBOX_SLEEP_AFTER=1h\nCDP_SECRET=x\nDEBUG_ROUTES=true\n")
	if got := w.load().Unused(); !slices.Equal(got, []string{"CDP_SECRET"}) {
		t.Errorf("unused: %q", got)
	}
}

func TestWaysToSignInAreSetWhollyOrNotAtAll(t *testing.T) {
	const (
		team, aud  = "CF_ACCESS_TEAM_DOMAIN=t.cloudflareaccess.com", "CF_ACCESS_AUD=a"
		issuer, id = "MOLTWORKER_OIDC_ISSUER=https://idp.example.com", "MOLTWORKER_OIDC_CLIENT_ID=m"
		allow      = "MOLTWORKER_OIDC_ALLOW=ann@example.com"
		secret     = "MOLTWORKER_OIDC_CLIENT_SECRET=hunter22"
		dev        = "DEV_MODE=true"
	)
	for _, c := range []struct{ set, want []string }{
		{[]string{team, aud}, nil},
		{[]string{team, aud, "MOLTWORKER_ACCESS_ALLOW=@example.com"}, nil},
		{[]string{team}, []string{"CF_ACCESS_TEAM_DOMAIN (environment): it is set but CF_ACCESS_AUD is not: set both, or none"}},
		{[]string{aud}, []string{"CF_ACCESS_AUD (environment): it is set but CF_ACCESS_TEAM_DOMAIN is not: set both, or none"}},
		{[]string{"MOLTWORKER_ACCESS_ALLOW=@example.com"}, []string{"MOLTWORKER_ACCESS_ALLOW (environment): it is set but CF_ACCESS_TEAM_DOMAIN and CF_ACCESS_AUD are not: set them"}},
		{[]string{issuer, id, allow, secret}, nil},
		{[]string{issuer, id, allow}, nil},
		{[]string{issuer}, []string{
			"MOLTWORKER_OIDC_ISSUER (environment): it is set but MOLTWORKER_OIDC_CLIENT_ID is not: set both, or none",
			"MOLTWORKER_OIDC_ISSUER (environment): it is set but MOLTWORKER_OIDC_ALLOW is not: set both, or none"}},
		{[]string{id, secret, allow}, []string{
			"MOLTWORKER_OIDC_CLIENT_ID (environment): it is set but MOLTWORKER_OIDC_ISSUER is not: set both, or none",
			"MOLTWORKER_OIDC_ALLOW (environment): it is set but MOLTWORKER_OIDC_ISSUER is not: set both, or none",
			"MOLTWORKER_OIDC_CLIENT_SECRET (environment): it is set but MOLTWORKER_OIDC_ISSUER is not: set both, or none"}},
		{[]string{dev}, nil},
		{[]string{dev, "MOLTWORKER_LISTEN=localhost:0"}, nil},
		{[]string{dev, "MOLTWORKER_LISTEN=:8787"}, []string{"DEV_MODE (environment): with it there is no sign-in, and MOLTWORKER_LISTEN is reachable from other machines: listen on 127.0.0.1:PORT, or leave DEV_MODE out"}},
		{[]string{dev, "MOLTWORKER_LISTEN=192.0.2.7:80"}, []string{"DEV_MODE (environment): with it there is no sign-in"}},
		{[]string{"DEV_MODE=false", "MOLTWORKER_LISTEN=:8787"}, nil},
	} {
		got := newWorld(t, c.set...).complaints()
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%q:\n%s\nwant\n%s", c.set, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestTheAddressOfWhoeverVouchesForPeople(t *testing.T) {
	const name = "CF_ACCESS_TEAM_DOMAIN"
	for given, want := range map[string]string{
		"t.cloudflareaccess.com":          "t.cloudflareaccess.com",
		"T.CloudflareAccess.com/":         "t.cloudflareaccess.com",
		"https://t.cloudflareaccess.com":  "t.cloudflareaccess.com",
		"https://t.cloudflareaccess.com/": "t.cloudflareaccess.com",
		"http://127.0.0.1:8080/":          "http://127.0.0.1:8080",
		"http://localhost:8080":           "http://localhost:8080",
	} {
		if c := newWorld(t, name+"="+given, "CF_ACCESS_AUD=a").load(); c.AccessTeamDomain != want {
			t.Errorf("%s: %q, want %q", given, c.AccessTeamDomain, want)
		}
	}
	for setting, want := range map[string]string{
		name + "=t":                            `"t" is not a team domain: write TEAM.cloudflareaccess.com`,
		name + "=https://t":                    `is not a team domain`,
		name + "=https://t.example.com/x":      `without a path`,
		name + "=t.example.com/x":              `is not a team domain`,
		name + "=http://t.example.com":         `nothing encrypts http`,
		name + "=ftp://t.example.com":          `is not a URL`,
		name + "=https://10.0.0.1":             `is not a team domain`,
		name + "=https://t.example.com@e.vil":  `the URL holds a user`,
		"MOLTWORKER_OIDC_ISSUER=http://i.dp":   `nothing encrypts http`,
		"MOLTWORKER_OIDC_ISSUER=idp.example":   `is not a URL`,
		"MOLTWORKER_OIDC_ISSUER=https://i.d?x": `a query`,
		"MOLTWORKER_OIDC_ALLOW=ann":            `"ann" is not an e-mail address or @DOMAIN`,
		"MOLTWORKER_OIDC_ALLOW=a@b@c":          `is not an e-mail address`,
		"MOLTWORKER_OIDC_ALLOW=*@example.com,": `ISSUER is not`, // a mailbox may be called so; it is no wildcard
		"MOLTWORKER_OIDC_ALLOW=@":              `is not an e-mail address`,
		"MOLTWORKER_OIDC_ALLOW=x.access":       `is not an e-mail address`,
		"MOLTWORKER_OIDC_ALLOW=,":              `1 to 1000 of them`,
		"MOLTWORKER_ACCESS_ALLOW=nobody":       `is not an e-mail address`,
		"MOLTWORKER_ADMIN_URL=admin":           `is not a URL`,
		"MOLTWORKER_ADMIN_URL=https://x/y":     `without a path`,
	} {
		got := strings.Join(newWorld(t, setting).complaints(), "\n")
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", setting, got, want)
		}
	}
	for given, want := range map[string]string{"https://idp.example.com/x/": "https://idp.example.com/x/", "http://[::1]:5556/dex": "http://[::1]:5556/dex"} {
		c := newWorld(t, "MOLTWORKER_OIDC_ISSUER="+given, "MOLTWORKER_OIDC_CLIENT_ID=m", "MOLTWORKER_OIDC_ALLOW=@example.com").load()
		if c.OIDCIssuer != want {
			t.Errorf("%s: %q, want %q", given, c.OIDCIssuer, want)
		}
	}
}
