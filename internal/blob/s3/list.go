package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
)

const (
	maxToken      = 4 << 10 // bytes of what a service wants to hear to go on
	maxEmptyPages = 100     // one after another
)

// List is blob.Store's.
func (s *Store) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	if err := blob.ValidatePrefix(prefix); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("list %s: %w", prefix, err) }
	var last, token string
	for empty := 0; ; empty++ {
		p, err := s.page(ctx, s.prefix+prefix, token)
		if err != nil {
			return fail(err)
		}
		for _, o := range p.Contents {
			if o.Key <= last || !strings.HasPrefix(o.Key, s.prefix+prefix) || o.Size < 0 {
				return fail(s.unreachable(fmt.Errorf("%w: a list out of order, or of other objects than were asked for", errNonsense)))
			}
			last, empty = o.Key, 0
			if err := ctx.Err(); err != nil {
				return fail(err)
			}
			name := strings.TrimPrefix(o.Key, s.prefix)
			if blob.ValidateName(name) != nil {
				continue // somebody else's
			}
			if err := f(blob.Info{Name: name, Size: o.Size, Modified: o.LastModified}); err != nil {
				return err
			}
		}
		if !p.IsTruncated {
			return nil
		}
		if empty > maxEmptyPages {
			return fail(s.unreachable(fmt.Errorf("%w: a list without an end", errNonsense)))
		}
		token = p.NextContinuationToken
	}
}

// page is one answer to a request for a list.
type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	IsTruncated           bool
	NextContinuationToken string
	EncodingType          string
	Contents              []listed
}

type listed struct {
	Key          string
	Size         int64
	LastModified time.Time
}

// page asks for the objects whose keys begin with prefix, from token on.
func (s *Store) page(ctx context.Context, prefix, token string) (*page, error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}, "encoding-type": {"url"}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	a, err := s.do(ctx, call{method: http.MethodGet, query: query, limit: maxList})
	if err != nil {
		return nil, err
	}
	p, err := parsePage(a.body)
	if err != nil {
		return nil, s.unreachable(fmt.Errorf("%w: %w", errNonsense, err))
	}
	return p, nil
}

// parsePage reads an answer, whoever wrote it: another document, such as a proxy's
// friendly page, must not pass for an empty list.
func parsePage(body []byte) (*page, error) {
	var p page
	if err := xml.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	if p.IsTruncated && (p.NextContinuationToken == "" || len(p.NextContinuationToken) > maxToken) {
		return nil, errors.New("read the list: it does not say how it goes on")
	}
	if p.EncodingType != "url" {
		return &p, nil
	}
	for i := range p.Contents {
		key, err := url.QueryUnescape(p.Contents[i].Key)
		if err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		p.Contents[i].Key = key
	}
	return &p, nil
}
