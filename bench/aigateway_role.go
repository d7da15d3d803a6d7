package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/openclaw"
)

// callRole makes this program one of the servers that model calls go through or to,
// each a process of its own so that what it takes can be told:
//
//	bench model-calls -kind KIND [-to HOST:PORT] [-dir DIR] [-dollars N]
//
// It prints the address at which it listens, and ends with SIGTERM.
const callRole = "model-calls"

// Kinds of servers.
const (
	kindModel   = "model"   // the fake model
	kindSplice  = "splice"  // copies bytes between connections
	kindReverse = "reverse" // httputil.ReverseProxy with full duplex
	kindStock   = "stock"   // httputil.ReverseProxy as it is
	kindOurs    = "ours"    // the AI gateway and its books
	kindHog     = "hog"     // twice as many busy threads as there are cores; no server
)

func runCalls(args []string) error {
	flags := flag.NewFlagSet(callRole, flag.ContinueOnError)
	kind := flags.String("kind", "", "")
	to := flags.String("to", "", "")
	dir := flags.String("dir", "", "")
	dollars := flags.Int64("dollars", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	ready := func() { fmt.Println(l.Addr()) }
	switch *kind {
	case kindModel:
		return serveCalls(ctx, l, ready, fakeModel())
	case kindSplice:
		return splice(ctx, l, ready, *to)
	case kindReverse, kindStock:
		return serveCalls(ctx, l, ready, reverse(*to, *kind == kindReverse))
	case kindOurs:
		return serveOurs(ctx, l, ready, *to, *dir, price.Money(*dollars)*price.Dollar)
	case kindHog:
		ready()
		return hog(ctx)
	}
	return fmt.Errorf("no server is called %q", *kind)
}

// serveCalls serves with the bounds that an agent's model calls have.
func serveCalls(ctx context.Context, l net.Listener, ready func(), h http.Handler) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	context.AfterFunc(ctx, func() { s.Close() })
	ready()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// splice is the least that anything between client and model costs: it knows nothing
// of HTTP.
func splice(ctx context.Context, l net.Listener, ready func(), to string) error {
	context.AfterFunc(ctx, func() { l.Close() })
	ready()
	for {
		near, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer far.Close()
			go func() {
				io.Copy(far, near)
				far.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(near, far)
		}()
	}
}

// modelKey stands for a provider's.
const modelKey = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz-0123456789"

// reverse is the standard library's proxy, which sets a key as a gateway does. With
// full duplex it is the least that loses no streams.
func reverse(to string, duplex bool) http.Handler {
	model := &url.URL{Scheme: "http", Host: to}
	p := &httputil.ReverseProxy{
		FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Transport: &http.Transport{DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(model)
			r.Out.Header.Set("X-Api-Key", modelKey)
		},
	}
	if !duplex {
		return p
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // HTTP/1 always can
		p.ServeHTTP(w, r)
	})
}

// Prices that are easy to reckon with, over those that are built in: a call of the
// fake model costs 40 + 10 * 400 = 4040 millionths of a dollar.
const ownPrices = `{"models":[
	{"provider":"anthropic","model":"bench-x","input":1,"output":10,"cache_read":0.1,"cache_write":1.25},
	{"provider":"openai","model":"bench-x","input":1,"output":10,"cache_read":0.1}]}`

const (
	callCost  = price.Money(tokensIn*1+tokensOut*10) * price.Dollar / 1_000_000
	booksPath = "/books"
)

// books is what ours says of itself at booksPath.
type books struct {
	Spent    price.Money `json:"spent"`
	Calls    int64       `json:"calls"`   // in the ledger
	Unknown  int64       `json:"unknown"` // of them, whose price is not known
	InFlight int         `json:"in_flight"`
	Recorded int64       `json:"recorded"` // in the record of calls
	Dropped  int64       `json:"dropped"`  // that it lost
}

// serveOurs is the AI gateway as a server has it: with prices, a ledger that has a
// limit, and a record of calls. /NAME/... are the calls of the agent NAME.
func serveOurs(ctx context.Context, l net.Listener, ready func(), to, dir string, limit price.Money) (err error) {
	table, err := price.Load([]byte(ownPrices))
	if err != nil {
		return err
	}
	ledger, err := budget.Open(budget.Options{Dir: filepath.Join(dir, "budget")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	if err := ledger.SetRules([]budget.Rule{{ID: "bench", Period: budget.Day, Limit: limit}}); err != nil {
		return err
	}
	calls, err := calllog.Open(ctx, calllog.Options{Path: filepath.Join(dir, "calls.sqlite")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, calls.Close()) }()
	values := map[string]string{
		"ANTHROPIC_BASE_URL": "http://" + to, "ANTHROPIC_API_KEY": modelKey,
		"OPENAI_BASE_URL": "http://" + to + "/v1", "OPENAI_API_KEY": modelKey,
	}
	g, err := aigateway.New(aigateway.Options{
		Settings: func() provider.Settings {
			return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
		},
		Prices: func() *price.Table { return table }, Budget: ledger, Calls: calls,
		Trigger:  func(p aigateway.Prompt) string { return openclaw.Trigger(p.First, p.Last, p.Before) },
		ByPerson: map[string]bool{openclaw.TriggerUser: true, openclaw.TriggerChannel: true},
		Log:      slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { calls.Run(ctx) })
	running.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ledger.Alerts():
			case <-ctx.Done():
			}
		}
	})
	return serveCalls(ctx, l, ready, byAgent(g, func() (books, error) {
		if err := calls.Flush(ctx); err != nil {
			return books{}, err
		}
		state, stats := ledger.State(), calls.Stats()
		rule := state.Rules[0]
		return books{rule.Spent, rule.Calls, rule.Unknown, state.InFlight, stats.Written, stats.Dropped}, nil
	}))
}

// byAgent takes the agent's name off a path. In the product each agent has a socket
// of its own.
func byAgent(g *aigateway.Gateway, look func() (books, error)) http.Handler {
	var handlers sync.Map // by name
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == booksPath {
			b, err := look()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			json.NewEncoder(w).Encode(b)
			return
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path = "/" + rest
		h, ok := handlers.Load(name)
		if !ok {
			h, _ = handlers.LoadOrStore(name, g.Handler(name))
		}
		h.(http.Handler).ServeHTTP(w, r)
	})
}

// hog keeps every core busy twice over.
func hog(ctx context.Context) error {
	n := 2 * goruntime.NumCPU()
	goruntime.GOMAXPROCS(n)
	for range n {
		go func() {
			for x := uint64(1); ; x = x*6364136223846793005 + 1 {
				if x == 0 {
					fmt.Fprint(os.Stderr) // never: keeps the loop from being taken out
				}
			}
		}()
	}
	<-ctx.Done()
	return nil
}
