package s3

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

func TestWhereObjectsAre(t *testing.T) {
	key := secret.NewValue("top-secret-key")
	r2 := Options{Endpoint: "https://0123abcd.r2.cloudflarestorage.com", Region: "auto", Bucket: "my-backups", PathStyle: true}
	r2eu := Options{Endpoint: "https://0123abcd.eu.r2.cloudflarestorage.com", Region: "auto", Bucket: "my-backups", PathStyle: true, Prefix: "host-1"}
	for want, opts := range map[string]Options{
		"https://0123abcd.r2.cloudflarestorage.com/my-backups/ s3://my-backups at 0123abcd.r2.cloudflarestorage.com":              r2,
		"https://0123abcd.eu.r2.cloudflarestorage.com/my-backups/ s3://my-backups/host-1 at 0123abcd.eu.r2.cloudflarestorage.com": r2eu,
		"https://bucket.s3.eu-west-1.amazonaws.com/ s3://bucket at s3.eu-west-1.amazonaws.com":                                    {Endpoint: "https://s3.eu-west-1.amazonaws.com", Bucket: "bucket"},
		"https://s3.example.com/bucket/ s3://bucket at s3.example.com":                                                            {Endpoint: "https://s3.example.com/", Bucket: "bucket", PathStyle: true},
		"https://s3.example.com/dotted.bucket/ s3://dotted.bucket at s3.example.com":                                              {Endpoint: "https://s3.example.com", Bucket: "dotted.bucket"},
		"http://127.0.0.1:9000/bucket/ s3://bucket at 127.0.0.1:9000":                                                             {Endpoint: "http://127.0.0.1:9000", Bucket: "bucket"},
		"http://[::1]:9000/bucket/ s3://bucket at [::1]:9000":                                                                     {Endpoint: "http://[::1]:9000", Bucket: "bucket"},
		"http://localhost:9000/bucket/ s3://bucket at localhost:9000":                                                             {Endpoint: "http://localhost:9000", Bucket: "bucket"},
		"https://minio.example.com:9000/bucket/ s3://bucket at minio.example.com:9000":                                            {Endpoint: "https://minio.example.com:9000", Bucket: "bucket", PathStyle: true},
	} {
		opts.AccessKey, opts.SecretKey = "id", key
		s := open(t, opts)
		if got := fmt.Sprint(s.endpoint, " ", s); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if shown := fmt.Sprintf("%v %+v %#v", s, *s, opts); strings.Contains(shown, "top-secret-key") {
			t.Error("the secret key is printed")
		}
	}
}

func TestBadOptions(t *testing.T) {
	good := Options{Endpoint: "https://s3.example.com", Bucket: "bucket", AccessKey: "id", SecretKey: secret.NewValue("key")}
	open(t, good)
	for name, spoil := range map[string]func(*Options){
		"no endpoint":          func(o *Options) { o.Endpoint = "" },
		"endpoint is a host":   func(o *Options) { o.Endpoint = "s3.example.com" },
		"endpoint with port":   func(o *Options) { o.Endpoint = "s3.example.com:9000" },
		"endpoint of a file":   func(o *Options) { o.Endpoint = "file:///x" },
		"endpoint with bucket": func(o *Options) { o.Endpoint += "/bucket" },
		"endpoint with query":  func(o *Options) { o.Endpoint += "?x=y" },
		"endpoint with key":    func(o *Options) { o.Endpoint = "https://id:key@s3.example.com" },
		"endpoint of nobody":   func(o *Options) { o.Endpoint = "https://:9000" },
		"no bucket":            func(o *Options) { o.Bucket = "" },
		"bucket too short":     func(o *Options) { o.Bucket = "ab" },
		"bucket with path":     func(o *Options) { o.Bucket = "bucket/a" },
		"bucket in capitals":   func(o *Options) { o.Bucket = "Bucket" },
		"bad prefix":           func(o *Options) { o.Prefix = "a/" },
		"bad region":           func(o *Options) { o.Region = "eu west" },
		"no access key":        func(o *Options) { o.AccessKey = "" },
		"no secret key":        func(o *Options) { o.SecretKey = secret.Value{} },
	} {
		opts := good
		spoil(&opts)
		if _, err := New(opts); err == nil || remedy.Of(err) == "" {
			t.Errorf("%s: %v, want an error with a remedy", name, err)
		}
	}
}
