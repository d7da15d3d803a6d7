package config

import (
	"slices"
	"strings"
	"testing"
)

func TestWhereBackupsGo(t *testing.T) {
	r2 := []string{"R2_ACCESS_KEY_ID=k", "R2_SECRET_ACCESS_KEY=s", "CF_ACCOUNT_ID=abc"}
	with := func(more string) []string { return slices.Concat(r2, []string{more}) }
	for name, tt := range map[string]struct {
		environ []string
		want    Backup // without keys
		wrong   string // what the complaint has in it
	}{
		"nothing":     {nil, Backup{Region: "us-east-1"}, ""},
		"off":         {[]string{"MOLTWORKER_BACKUP=off"}, Backup{Off: true, Region: "us-east-1"}, ""},
		"off with R2": {with("MOLTWORKER_BACKUP=off"), Backup{Off: true, Region: "us-east-1"}, ""},
		"directory":   {[]string{"MOLTWORKER_BACKUP=/mnt/b"}, Backup{Dir: "/mnt/b", Region: "us-east-1"}, ""},
		"R2": {r2, Backup{Bucket: "moltbot-data", Prefix: "moltworker", Region: "auto", PathStyle: true,
			Endpoint: "https://abc.r2.cloudflarestorage.com"}, ""},
		"R2, another bucket": {with("R2_BUCKET_NAME=mine"), Backup{Bucket: "mine", Prefix: "moltworker", Region: "auto", PathStyle: true,
			Endpoint: "https://abc.r2.cloudflarestorage.com"}, ""},
		"Amazon": {[]string{"MOLTWORKER_BACKUP=s3://bucket/a/b.c/", "MOLTWORKER_BACKUP_REGION=eu-west-1"},
			Backup{Bucket: "bucket", Prefix: "a/b.c", Region: "eu-west-1"}, ""},
		"another S3": {[]string{"MOLTWORKER_BACKUP=s3://bucket", "MOLTWORKER_BACKUP_ENDPOINT=http://127.0.0.1:7070"},
			Backup{Bucket: "bucket", Endpoint: "http://127.0.0.1:7070", Region: "us-east-1", PathStyle: true}, ""},
		"chosen before R2": {with("MOLTWORKER_BACKUP=/mnt/b"), Backup{Dir: "/mnt/b", Region: "us-east-1"}, ""},

		"R2 of whom":       {r2[:2], Backup{}, "CF_ACCOUNT_ID"},
		"relative":         {[]string{"MOLTWORKER_BACKUP=here"}, Backup{}, "an absolute directory"},
		"another scheme":   {[]string{"MOLTWORKER_BACKUP=ftp://host/x"}, Backup{}, "s3://BUCKET"},
		"key in the URL":   {[]string{"MOLTWORKER_BACKUP=s3://k:s@bucket/x"}, Backup{}, "s3://BUCKET"},
		"bucket too short": {[]string{"MOLTWORKER_BACKUP=s3://b"}, Backup{}, "s3://BUCKET"},
		"climbing prefix":  {[]string{"MOLTWORKER_BACKUP=s3://bucket/../x"}, Backup{}, "a prefix"},
	} {
		c, err := LoadFrom(Overrides{Data: t.TempDir()}, Process{Environ: slices.Concat(tt.environ, []string{"HOME=/home/x"})})
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s: %v, want a complaint about %s", name, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		place := c.BackupPlace(func(name string) (string, bool) { v, ok := c.Lookup(name); return v.Reveal(), ok })
		if strings.Contains(place.Endpoint, "r2") != (place.Access.Reveal() == "k") {
			t.Errorf("%s: the wrong keys", name)
		}
		place.Access, place.Secret, place.Session = secretValue{}, secretValue{}, secretValue{}
		if place != tt.want {
			t.Errorf("%s: %+v, want %+v", name, place, tt.want)
		}
	}
}

func TestWhatIsKept(t *testing.T) {
	for value, want := range map[string]Keep{
		"last=3":            {Last: 3},
		"daily=7, weekly=4": {Daily: 7, Weekly: 4},
		"last=0":            {}, "": {24, 24, 14, 8, 12}, "yearly=1": {}, "last=-1": {}, "last=10001": {}, "last": {},
	} {
		c, err := LoadFrom(Overrides{Data: t.TempDir()}, Process{Environ: []string{"HOME=/home/x", "MOLTWORKER_BACKUP_KEEP=" + value}})
		if (err != nil) != (want == Keep{}) || err == nil && c.BackupKeep != want {
			t.Errorf("%q: %+v, %v; want %+v", value, c.BackupKeep, err, want)
		}
	}
}
