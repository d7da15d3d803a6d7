package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/access"
)

// probeRole makes this program the client: the same one everywhere, so that
// only the way differs.
//
//	bench probe -kind KIND -url http://HOST:PORT [-token T] -n N
const probeRole = "probe"

// What a probe can do.
const (
	kindGET     = "get"    // one request after the other on one connection
	kindFresh   = "fresh"  // the same, a new connection each
	kindSocket  = "socket" // a WebSocket message there and back, one after the other
	kindLoad    = "load"   // requests of 16 clients at once
	kindDown    = "down"   // one answer of n MiB
	kindUp      = "up"     // one request of n MiB
	loadClients = 16
	warmUp      = 30 // requests that do not count
	wsMessage   = 200
)

// outcome is what a probe prints.
type outcome struct {
	Micros  []float64 `json:"micros,omitempty"` // of each request
	Seconds float64   `json:"seconds"`          // of all of them
}

// probe is one client.
type probe struct {
	url, token string
	n          int
	client     *http.Client
}

func runProbe(args []string) error {
	var p probe
	flags := flag.NewFlagSet(probeRole, flag.ContinueOnError)
	kind := flags.String("kind", kindGET, "")
	flags.StringVar(&p.url, "url", "", "")
	flags.StringVar(&p.token, "token", "", "")
	flags.IntVar(&p.n, "n", 100, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: *kind == kindFresh, DisableCompression: true, MaxIdleConnsPerHost: loadClients,
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := p.run(ctx, *kind)
	if err != nil {
		return fmt.Errorf("probe %s of %s: %w", *kind, p.url, err)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func (p probe) run(ctx context.Context, kind string) (outcome, error) {
	switch kind {
	case kindGET, kindFresh:
		return p.repeat(func() error { return p.request(ctx, http.MethodGet, "/startupz", nil, 0) })
	case kindSocket:
		return p.socket(ctx)
	case kindLoad:
		return p.load(ctx)
	case kindDown:
		return p.timed(func() error {
			return p.request(ctx, http.MethodGet, "/bytes?n="+strconv.Itoa(p.n<<20), nil, 0)
		})
	case kindUp:
		size := int64(p.n) << 20
		return p.timed(func() error {
			return p.request(ctx, http.MethodPost, "/sink", io.LimitReader(zeros{}, size), size)
		})
	}
	return outcome{}, fmt.Errorf("no such kind")
}

// request makes one and reads the answer to its end.
func (p probe) request(ctx context.Context, method, path string, body io.Reader, size int64) error {
	r, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return err
	}
	r.ContentLength = size
	r.Header = p.header()
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s", resp.Status)
	}
	return nil
}

func (p probe) header() http.Header {
	if p.token == "" {
		return http.Header{}
	}
	return http.Header{access.TokenHeader: {p.token}}
}

// repeat measures each of n repetitions, after some that do not count.
func (p probe) repeat(trip func() error) (outcome, error) {
	var out outcome
	var began time.Time
	for i := range warmUp + p.n {
		if i == warmUp {
			began = time.Now()
		}
		start := time.Now()
		if err := trip(); err != nil {
			return out, err
		}
		if i >= warmUp {
			out.Micros = append(out.Micros, float64(time.Since(start).Nanoseconds())/1000)
		}
	}
	out.Seconds = time.Since(began).Seconds()
	return out, nil
}

func (p probe) timed(transfer func() error) (outcome, error) {
	began := time.Now()
	err := transfer()
	return outcome{Seconds: time.Since(began).Seconds()}, err
}

func (p probe) socket(ctx context.Context) (outcome, error) {
	c, _, err := websocket.Dial(ctx, strings.Replace(p.url, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPHeader: p.header()})
	if err != nil {
		return outcome{}, err
	}
	defer c.CloseNow()
	message := []byte(strings.Repeat("x", wsMessage))
	return p.repeat(func() error {
		if err := c.Write(ctx, websocket.MessageText, message); err != nil {
			return err
		}
		_, _, err := c.Read(ctx)
		return err
	})
}

// load has clients make n requests together.
func (p probe) load(ctx context.Context) (outcome, error) {
	began := time.Now()
	var group sync.WaitGroup
	failed := make(chan error, loadClients)
	for range loadClients {
		group.Go(func() {
			for range p.n / loadClients {
				if err := p.request(ctx, http.MethodGet, "/startupz", nil, 0); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	out := outcome{Seconds: time.Since(began).Seconds()}
	select {
	case err := <-failed:
		return out, err
	default:
		return out, nil
	}
}
