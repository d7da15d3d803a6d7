package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/secret"
)

// Keep is how many versions of each agent's state are kept: see the key
// MOLTWORKER_BACKUP_KEEP.
type Keep struct{ Last, Hourly, Daily, Weekly, Monthly int }

// Backup says where versions are kept.
type Backup struct {
	Off       bool
	Dir       string // a directory, absolute; else
	Bucket    string // one that S3 knows, with
	Prefix    string // of objects' names, without slashes at its ends
	Endpoint  string // http or https URL without a path; "": Amazon's own
	Region    string
	Access    secretValue
	Secret    secretValue
	Session   secretValue
	PathStyle bool
}

func storageKeys() []Key {
	return []Key{
		{Name: "MOLTWORKER_BACKUP", Group: groupStorage, Form: "off, a directory, or s3://BUCKET/PREFIX",
			Meaning: "where encrypted versions of what agents have are kept",
			Absent:  "the R2 bucket, where R2_ACCESS_KEY_ID is set; else the directory backups in the data directory, on the same disk",
			set:     backup},
		{Name: "MOLTWORKER_BACKUP_ENDPOINT", Group: groupStorage, Form: "http or https URL",
			Meaning: "address of the S3 service that has the bucket", Absent: "Amazon's own",
			set: origin(func(c *Config) *string { return &c.Backup.Endpoint })},
		{Name: "MOLTWORKER_BACKUP_REGION", Group: groupStorage, Form: "text",
			Meaning: "region of the bucket", Default: "us-east-1", set: word(func(c *Config) *string { return &c.Backup.Region })},
		{Name: "MOLTWORKER_BACKUP_BANDWIDTH", Group: groupStorage, Form: "size a second, 16KiB to 1TiB; 0 for no limit",
			Meaning: "how much is moved to and from the store", Default: "0",
			set: size(func(c *Config) *int64 { return &c.BackupBandwidth }, 16<<10, 1<<40)},
		{Name: "MOLTWORKER_BACKUP_KEEP", Group: groupStorage, Form: "comma list of last=, hourly=, daily=, weekly= and monthly= with a number each",
			Meaning: "which versions are kept: the newest ones, and the newest one of so many hours, days, weeks and months",
			Default: "last=24,hourly=24,daily=14,weekly=8,monthly=12", set: keep},
		{Name: "MOLTWORKER_BACKUP_DRILL", Group: groupStorage, Form: "duration, 1h to 8760h, or never",
			Meaning: "how often a restore is tried: the newest version is restored to a scratch agent, its databases are checked, and OpenClaw boots on it", Default: "168h",
			set: orNever(func(c *Config) *time.Duration { return &c.BackupDrill }, time.Hour, "a time from 1h to 8760h, such as 168h, or never")},
		{Name: "AWS_ACCESS_KEY_ID", Group: groupStorage, Secret: true, Form: "text",
			Meaning: "access key of the bucket named in MOLTWORKER_BACKUP", set: hidden(func(c *Config) *secretValue { return &c.Backup.Access })},
		{Name: "AWS_SECRET_ACCESS_KEY", Group: groupStorage, Secret: true, Form: "text",
			Meaning: "secret of that access key", set: hidden(func(c *Config) *secretValue { return &c.Backup.Secret })},
		{Name: "AWS_SESSION_TOKEN", Group: groupStorage, Secret: true, Form: "text",
			Meaning: "session of that access key, where it needs one", set: hidden(func(c *Config) *secretValue { return &c.Backup.Session })},
		{Name: "R2_ACCESS_KEY_ID", Group: groupStorage, Secret: true, Form: "text",
			Meaning: "access key of the R2 bucket", set: hidden(func(c *Config) *secretValue { return &c.R2AccessKeyID })},
		{Name: "R2_SECRET_ACCESS_KEY", Group: groupStorage, Secret: true, Form: "text",
			Meaning: "secret of the access key", set: hidden(func(c *Config) *secretValue { return &c.R2SecretAccessKey })},
		{Name: "R2_BUCKET_NAME", Group: groupStorage, Form: "text", Default: "moltbot-data",
			Meaning: "name of the bucket; versions go below moltworker/ in it", set: word(func(c *Config) *string { return &c.R2Bucket })},
		{Name: "CF_ACCOUNT_ID", Group: groupStorage, Form: "text",
			Meaning: "Cloudflare account of the bucket", set: word(func(c *Config) *string { return &c.CFAccount })},
		{Name: "R2_ENDPOINT", Group: groupStorage, Form: "http or https URL",
			Meaning: "address of the bucket's service, for a bucket in a jurisdiction (https://ACCOUNT.eu.r2.cloudflarestorage.com) or elsewhere", Absent: "the account's own",
			set: origin(func(c *Config) *string { return &c.R2Endpoint })},
	}
}

var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func backup(c *Config, v string) error {
	const right = "off, an absolute directory, or s3://BUCKET/PREFIX"
	if v == "off" {
		c.Backup.Off = true
		return nil
	}
	if !strings.Contains(v, "://") {
		if !strings.HasPrefix(v, "/") {
			return wrong(v, "a place for backups", right)
		}
		return path(func(c *Config) *string { return &c.Backup.Dir })(c, v)
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !bucketPattern.MatchString(u.Host) {
		return wrong(v, "a place for backups", right)
	}
	prefix := strings.Trim(u.Path, "/")
	if !prefixPattern.MatchString(prefix) {
		return wrong(v, "a place for backups", "a prefix of a-z, 0-9, -, _ and . in parts between slashes")
	}
	c.Backup.Bucket, c.Backup.Prefix = u.Host, prefix
	return nil
}

var prefixPattern = regexp.MustCompile(`^([a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*(/[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*)*)?$`)

func keep(c *Config, v string) error {
	const right = "such as last=24,hourly=24,daily=14,weekly=8,monthly=12, each at most 10000"
	var k Keep
	fields := map[string]*int{"last": &k.Last, "hourly": &k.Hourly, "daily": &k.Daily, "weekly": &k.Weekly, "monthly": &k.Monthly}
	for _, item := range splitList(v) {
		name, number, _ := strings.Cut(item, "=")
		field, known := fields[name]
		n, err := strconv.Atoi(number)
		if !known || err != nil || n < 0 || n > 10_000 {
			return wrong(v, "a list of what to keep", right)
		}
		*field = n
	}
	if k == (Keep{}) {
		return wrong(v, "a list that keeps anything", right)
	}
	c.BackupKeep = k
	return nil
}

// checkStorage looks at what the storage settings mean together. Keys may be sealed
// instead of set.
func (c *Config) checkStorage(p *Problems) {
	if c.R2AccessKeyID.IsSet() && c.R2Place() == "" && !c.backupChosen() {
		p.add("CF_ACCOUNT_ID", "default", errors.New("R2_ACCESS_KEY_ID is set, but not whose bucket it opens: set it to the account's ID, which the R2 page of the Cloudflare dashboard shows"))
	}
}

// R2Place is the address of the service that has the R2 bucket, or "" when none is
// given.
func (c *Config) R2Place() string {
	if c.R2Endpoint != "" || c.CFAccount == "" {
		return c.R2Endpoint
	}
	return fmt.Sprintf("https://%s.r2.cloudflarestorage.com", c.CFAccount)
}

// R2Region is the region of the R2 bucket: R2 has one for all, other services that
// R2_ENDPOINT may name have theirs.
func (c *Config) R2Region() string {
	if c.R2Endpoint == "" || strings.HasSuffix(c.R2Endpoint, ".r2.cloudflarestorage.com") {
		return "auto"
	}
	return c.Backup.Region
}

func (c *Config) backupChosen() bool {
	_, chosen := c.given["MOLTWORKER_BACKUP"]
	return chosen
}

// BackupPlace is where versions go, with the keys to it; lookup finds a secret by
// its name, set or sealed. A place with neither Off, Dir nor Bucket is left to the
// caller.
func (c Config) BackupPlace(lookup func(name string) (string, bool)) Backup {
	get := func(name string) secretValue {
		value, _ := lookup(name)
		return secret.NewValue(value)
	}
	b := c.Backup
	if access := get("R2_ACCESS_KEY_ID"); !c.backupChosen() && access.IsSet() && c.R2Place() != "" {
		return Backup{Bucket: c.R2Bucket, Prefix: "moltworker", Region: c.R2Region(), PathStyle: true,
			Endpoint: c.R2Place(), Access: access, Secret: get("R2_SECRET_ACCESS_KEY")}
	}
	if b.Bucket == "" {
		return b
	}
	b.Access, b.Secret, b.Session = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"), get("AWS_SESSION_TOKEN")
	b.PathStyle = b.Endpoint != "" && !strings.HasSuffix(b.Endpoint, ".amazonaws.com")
	return b
}
