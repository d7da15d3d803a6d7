package server

import (
	"os"
	"strings"
	"time"
)

// timeZone is this machine's time zone by its IANA name, so that an agent's
// "tomorrow at 7" means what it means to its user; "" when it cannot be known.
func timeZone() string {
	name := strings.TrimPrefix(os.Getenv("TZ"), ":")
	if name == "" {
		target, err := os.Readlink("/etc/localtime")
		if err != nil {
			return ""
		}
		_, name, _ = strings.Cut(target, "zoneinfo/")
	}
	if _, err := time.LoadLocation(name); err != nil {
		return ""
	}
	return name
}
