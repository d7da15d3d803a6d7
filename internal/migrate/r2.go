package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// R2Options say where a bucket of R2, or of another service that speaks S3, is.
type R2Options struct {
	Endpoint string // http or https URL without a path
	Region   string // empty: "auto"
	Bucket   string // empty: "moltbot-data", the name that moltworker uses
	Prefix   string // of the agent's objects; empty: all of the bucket

	AccessKey string
	SecretKey secret.Value
	Transport http.RoundTripper // nil: the usual one
}

type r2 struct {
	client         *minio.Client
	bucket, prefix string
	where          string
}

// NewR2 gives a bucket to read from. It connects when it is read.
func NewR2(o R2Options) (Bucket, error) {
	service, err := url.Parse(o.Endpoint)
	if err != nil || service.Host == "" || service.Path != "" {
		return nil, remedy.With(errors.New("the bucket has no address"), "set CF_ACCOUNT_ID, or R2_ENDPOINT to https://HOST")
	}
	if o.Region == "" {
		o.Region = "auto"
	}
	if o.Bucket == "" {
		o.Bucket = "moltbot-data"
	}
	if p := strings.Trim(o.Prefix, "/"); p != "" {
		o.Prefix = p + "/"
	} else {
		o.Prefix = ""
	}
	client, err := minio.New(service.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(o.AccessKey, o.SecretKey.Reveal(), ""),
		Secure: service.Scheme == "https", Region: o.Region, BucketLookup: minio.BucketLookupPath, Transport: o.Transport,
	})
	if err != nil {
		return nil, remedy.With(fmt.Errorf("open bucket %s: %w", o.Bucket, err), "give R2_ENDPOINT as https://HOST")
	}
	return &r2{client: client, bucket: o.Bucket, prefix: o.Prefix, where: service.Host + "/" + strings.TrimSuffix(o.Bucket+"/"+o.Prefix, "/")}, nil
}

func (b *r2) String() string { return b.where }

func (b *r2) List(ctx context.Context, prefix string, f func(Object) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing when f does not want more
	for o := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return explainR2(o.Err)
		}
		name := strings.TrimPrefix(o.Key, b.prefix)
		if name == "" {
			continue
		}
		if err := f(Object{Name: name, Size: o.Size, Modified: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *r2) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	var opts minio.GetObjectOptions
	if err := opts.SetRange(off, off+n-1); err != nil {
		return nil, err
	}
	o, err := b.client.GetObject(ctx, b.bucket, b.prefix+name, opts)
	if err != nil {
		return nil, explainR2(err)
	}
	defer o.Close()
	data, err := io.ReadAll(io.LimitReader(o, n))
	if err != nil {
		return nil, explainR2(err)
	}
	return data, nil
}

// explainR2 says what a person can do about a refusal.
func explainR2(err error) error {
	switch minio.ToErrorResponse(err).Code {
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unauthorized":
		return remedy.With(fmt.Errorf("the bucket's service refuses the key: %w", err), "make an R2 API token with read access to the bucket, and give its access key and secret")
	case minio.NoSuchBucket:
		return remedy.With(fmt.Errorf("there is no such bucket: %w", err), "look at its name, and at the account")
	}
	return err
}
