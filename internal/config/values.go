package config

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/secret"
)

type secretValue = secret.Value

// A setter checks a value and keeps it in the Config. Its error ends the sentence
// that begins with the key and where the value came from.
type setter = func(*Config, string) error

// wrong says what a value is not and what would be right.
func wrong(value, isNot, right string) error {
	if len(value) > 60 {
		value = strings.ToValidUTF8(value[:60], "") + "..."
	}
	return fmt.Errorf("%q is not %s: write %s", value, isNot, right)
}

func boolean(field func(*Config) *bool) setter {
	return func(c *Config, v string) error {
		switch strings.ToLower(v) {
		case "true", "1", "yes", "on":
			*field(c) = true
		case "false", "0", "no", "off":
			*field(c) = false
		default:
			return wrong(v, "yes or no", "true or false")
		}
		return nil
	}
}

func oneOf(field func(*Config) *string, words ...string) setter {
	right := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	return func(c *Config, v string) error {
		if !slices.Contains(words, v) {
			return wrong(v, "a choice", right)
		}
		*field(c) = v
		return nil
	}
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([A-Za-z]*)$`)

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

func size(field func(*Config) *int64, least, most int64) setter {
	right := fmt.Sprintf("a number with its unit from %s to %s, such as 3GiB or 3072MiB, or 0 for no limit", formatSize(least), formatSize(most))
	return func(c *Config, v string) error {
		m := sizePattern.FindStringSubmatch(v)
		if m == nil {
			return wrong(v, "a size", right)
		}
		unit, ok := sizeUnits[strings.ToLower(m[2])]
		if !ok {
			return wrong(v, "a size", right)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return wrong(v, "a size", right)
		}
		n = math.Round(n * unit)
		if n != 0 && (n < float64(least) || n > float64(most)) {
			return wrong(v, "a size that can be used here", right)
		}
		*field(c) = int64(n)
		return nil
	}
}

func formatSize(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func bootTimeout(c *Config, v string) (err error) {
	c.BootTimeout, err = duration(v, 10*time.Second, time.Hour, "a time from 10s to 1h, such as 90s or 5m")
	return err
}

// orNever is a duration that may also be never, which is 0.
func orNever(field func(*Config) *time.Duration, least time.Duration, right string) setter {
	return func(c *Config, v string) (err error) {
		if v == "never" {
			*field(c) = 0
			return nil
		}
		*field(c), err = duration(v, least, 365*24*time.Hour, right)
		return err
	}
}

func pool(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 7)
	if err != nil || n > 100 {
		return wrong(v, "a number of agents", "a number from 0 to 100")
	}
	c.Pool = int(n)
	return nil
}

func duration(v string, least, most time.Duration, right string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, wrong(v, "a duration", right)
	}
	if d < least || d > most {
		return 0, wrong(v, "a duration that can be used here", right)
	}
	return d, nil
}

var cpusPattern = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,3})?$`)

func cpus(c *Config, v string) error {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !cpusPattern.MatchString(v) || n != 0 && (n < 0.1 || n > 1024) {
		return wrong(v, "a number of cores", "one from 0.1 to 1024, such as 2 or 1.5, or 0 for no limit")
	}
	c.CPUs = n
	return nil
}

func pids(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n != 0 && (n < 512 || n > 1_000_000) {
		return wrong(v, "a number of processes", "one from 512 to 1000000, or 0 for no limit")
	}
	c.PIDs = int64(n)
	return nil
}

func logLevel(c *Config, v string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(v)]
	if !ok {
		return wrong(v, "a log level", "debug, info, warn or error")
	}
	c.LogLevel = level
	return nil
}

func path(field func(*Config) *string) setter {
	return func(c *Config, v string) error {
		if strings.HasPrefix(v, "~") {
			return wrong(v, "a path that can be used here, where ~ is not expanded", "the whole path")
		}
		if strings.ContainsFunc(v, unicode.IsControl) {
			return wrong(v, "a path", "one without control characters")
		}
		abs, err := filepath.Abs(v)
		if err != nil {
			return wrong(v, "a path that can be used here", "one that begins with /")
		}
		*field(c) = abs
		return nil
	}
}

func file(field func(*Config) *string) setter {
	set := path(field)
	return func(c *Config, v string) error {
		if err := set(c, v); err != nil {
			return err
		}
		info, err := os.Stat(*field(c))
		if err != nil {
			return wrong(v, "a file that can be found", "the path of a file that this user may read")
		}
		if info.IsDir() {
			return wrong(v, "a file but a directory", "the path of a file")
		}
		return nil
	}
}

// hidden keeps a secret. Its errors never quote it.
func hidden(field func(*Config) *secretValue) setter {
	return func(c *Config, v string) error {
		if err := checkSecret(v); err != nil {
			return err
		}
		*field(c) = secret.NewValue(v)
		return nil
	}
}

func token(c *Config, v string) error {
	if err := checkSecret(v); err != nil {
		return err
	}
	if len(v) < 16 || strings.ContainsFunc(v, unicode.IsSpace) {
		return fmt.Errorf("the token is too short or has a space: write 32 random characters, or leave it out and one is made")
	}
	if len(v) < 32 {
		c.Warnings = append(c.Warnings, "MOLTBOT_GATEWAY_TOKEN is shorter than 32 characters: a longer random one is harder to guess")
	}
	c.GatewayToken = secret.NewValue(v)
	return nil
}

func checkSecret(v string) error {
	switch {
	case len(v) > secret.MaxValue:
		return fmt.Errorf("the value has more than %d bytes: it is not a secret of this kind", secret.MaxValue)
	case strings.TrimSpace(v) != v:
		return fmt.Errorf("the value begins or ends with a space: write it without")
	case !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl):
		return fmt.Errorf("the value holds a line break or another character that no key has: copy it again")
	}
	return nil
}

// word is a short text without spaces, such as an identifier.
func word(field func(*Config) *string) setter {
	return func(c *Config, v string) error {
		if len(v) > 256 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
			return wrong(v, "a name of this kind", "at most 256 characters without spaces")
		}
		*field(c) = v
		return nil
	}
}
