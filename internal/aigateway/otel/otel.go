// Package otel owns how model calls are told to an OpenTelemetry collector: one span
// for each call and sums over all of them, in the names of the gen_ai semantic
// conventions, sent as OTLP over HTTP. A call never waits for it: what a collector
// cannot take in time is dropped and counted.
//
// It must not know how calls are forwarded, recorded or priced, and it tells nothing
// of what was said in them: no content, no metadata, no key. What the SDK reads from
// the environment (OTEL_*) has no say here, though the SDK writes a line to stderr
// about some of it that makes no sense (OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES).
// Nothing global is set. The SDK's own exporters are not used: they read addresses and
// credentials from the environment and bring all of gRPC along, even those for HTTP.
package otel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// Bounds of what waits, and how often it is sent.
const (
	intakeSize  = 1024 // calls that are yet to be counted in the sums
	queueSize   = 4096 // calls whose spans are yet to be sent
	batchSize   = 512  // spans in one request
	sendEvery   = 5 * time.Second
	sumsEvery   = 6 // times sendEvery: the sums are sent every 30 seconds
	failEvery   = time.Minute
	nameOfScope = "github.com/moltworker/moltworker/internal/aigateway/otel"
)

// Options of an exporter.
type Options struct {
	// Endpoint is the base URL of the collector, as OTEL_EXPORTER_OTLP_ENDPOINT has it,
	// such as http://127.0.0.1:4318; /v1/traces and /v1/metrics are below it. It must
	// be https unless the host is of this machine or of a private network.
	Endpoint string
	// Headers go with every request, as OTEL_EXPORTER_OTLP_HEADERS has them, decoded.
	// Their values are credentials: no error holds one.
	Headers map[string]string

	Service string // service.name; "moltworker"
	Version string // service.version; "" is not told

	// Fail is told why sending fails, at most once a minute, by the goroutine that
	// sends: it must not call Close. It may be nil.
	Fail func(err error)

	Now func() time.Time // time.Now; for how often Fail is told, and for calls whose ID does not say when they were
}

// Exporter tells of calls. Its methods may be called from anywhere.
type Exporter struct {
	opts    Options
	post    *poster
	sums    *sums  // counted into by count alone; collecting is safe beside it
	spans   *spans // belongs to send
	after   func(time.Duration) <-chan time.Time
	dropped atomic.Int64

	mu     sync.RWMutex // guards closed, and intake against being closed while somebody sends
	closed bool
	intake chan told

	queue   chan told
	closing chan struct{} // closed when Close is called
	done    chan struct{} // closed when nothing runs any more
	ctx     context.Context
	cancel  context.CancelFunc

	// Of the goroutine that sends; lost may be read once done is closed.
	failed time.Time // when Fail was last told
	lost   error     // why the last that was sent after Close did not arrive
}

// New begins to tell a collector of calls. Nothing is sent yet, so it fails only for
// options that cannot be used; the error names the setting and holds no value of
// one. The end of ctx does not end it: Close does.
func New(ctx context.Context, opts Options) (*Exporter, error) {
	return start(ctx, opts, time.After)
}

func start(ctx context.Context, opts Options, after func(time.Duration) <-chan time.Time) (*Exporter, error) {
	opts.Service = cmp.Or(opts.Service, "moltworker")
	if opts.Now == nil {
		opts.Now = time.Now
	}
	e := &Exporter{opts: opts, after: after, intake: make(chan told, intakeSize), queue: make(chan told, queueSize),
		closing: make(chan struct{}), done: make(chan struct{})}
	var err error
	if e.post, err = newPoster(opts.Endpoint, opts.Headers, clean(opts.Version, maxName)); err != nil {
		return nil, err
	}
	e.post.after, e.post.closing = after, e.closing
	from := resourceOf(opts)
	e.spans = newSpans(from, opts.Version)
	if e.sums, err = newSums(from, opts.Version); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go e.count()
	go e.send()
	return e, nil
}

// Add has the collector told of a call soon. It never waits: where there is no room
// the call is dropped and counted, and so is one that comes after Close. Its strings
// should not be parts of a body, which would stay in memory with them.
func (e *Exporter) Add(c calllog.Call) {
	t := tell(&c, e.opts.Now)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		e.dropped.Add(1)
		return
	}
	select {
	case e.intake <- t:
	default:
		e.dropped.Add(1)
	}
}

// Dropped is of how many calls the collector was not told: there was no room for
// them, it could not be reached for too long, or it would not have them. The sums
// lack only those that came when even the intake was full.
func (e *Exporter) Dropped() int64 { return e.dropped.Load() }

// Close sends what waits for as long as ctx lasts and ends all work. A collector
// that fails is not waited for. The error says what did not arrive; calling it again
// is harmless.
func (e *Exporter) Close(ctx context.Context) error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.intake)
		close(e.closing)
	}
	e.mu.Unlock()
	select {
	case <-e.done:
	case <-ctx.Done():
		e.cancel() // requests end at once, and so does send
		<-e.done
	}
	e.cancel()
	if err := ctx.Err(); err != nil && e.lost != nil {
		return fmt.Errorf("%w: %w", err, e.lost)
	}
	return e.lost
}

// count puts calls into the sums, which so have them even when the collector cannot
// be reached for long, and hands them on.
func (e *Exporter) count() {
	for t := range e.intake {
		e.sums.add(&t)
		select {
		case e.queue <- t:
		default:
			e.dropped.Add(1)
		}
	}
	close(e.queue)
}

// send sends what count hands on, until that ends.
func (e *Exporter) send() {
	defer close(e.done)
	defer e.post.end()
	batch := make([]told, 0, batchSize)
	tick := e.after(sendEvery)
	for ticks := 0; ; {
		select {
		case t, ok := <-e.queue:
			if !ok {
				e.sendSpans(batch)
				e.sendSums()
				return
			}
			if batch = append(batch, t); len(batch) == batchSize {
				e.sendSpans(batch)
				batch = batch[:0]
			}
		case <-tick:
			e.sendSpans(batch)
			batch = batch[:0]
			if ticks++; ticks%sumsEvery == 1 {
				e.sendSums()
			}
			tick = e.after(sendEvery)
		}
	}
}

// sendSpans tells of a batch. After Close, what follows something that did not
// arrive is not tried: there is no time to lose.
func (e *Exporter) sendSpans(batch []told) {
	if len(batch) == 0 {
		return
	}
	if e.lost != nil {
		e.dropped.Add(int64(len(batch)))
		return
	}
	refused, err := e.post.send(e.ctx, e.post.traces, e.spans.message(batch))
	if err != nil {
		refused = int64(len(batch))
		err = fmt.Errorf("tell the collector of calls: %w", err)
	} else if refused > 0 {
		refused = min(refused, int64(len(batch)))
		err = fmt.Errorf("the collector refused %d of %d calls", refused, len(batch))
	}
	e.dropped.Add(refused)
	e.fail(err)
}

// sendSums sends all sums as they are. What does not arrive is in those that follow.
func (e *Exporter) sendSums() {
	if e.lost != nil {
		return
	}
	m, err := e.sums.message(e.ctx)
	if err != nil || m == nil {
		e.fail(err)
		return
	}
	refused, err := e.post.send(e.ctx, e.post.metrics, m)
	if err != nil {
		err = fmt.Errorf("send the collector sums of calls: %w", err)
	} else if refused > 0 {
		err = fmt.Errorf("the collector refused %d sums", refused)
	}
	e.fail(err)
}

// fail tells why something did not arrive, unless it told within the last minute.
func (e *Exporter) fail(err error) {
	if err == nil {
		return
	}
	select {
	case <-e.closing:
		e.lost = errors.Join(e.lost, err)
	default:
	}
	now := e.opts.Now()
	if e.opts.Fail == nil || !e.failed.IsZero() && now.Sub(e.failed) < failEvery {
		return
	}
	e.failed = now
	e.opts.Fail(err)
}
