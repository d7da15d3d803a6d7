package pid1

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = time.Second
	maxProbeBody = 64 << 10
)

var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answers says whether a probe is answered with 200 and, if asked for, JSON. A
// probe without a port always is.
func answers(ctx context.Context, p proto.Probe, wantJSON bool) bool {
	if p.Port == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := fmt.Sprintf("http://127.0.0.1:%d%s", p.Port, p.Path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := prober.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
	return err == nil && (!wantJSON || json.Valid(body))
}

// probeBoot asks until the process is ready or ctx ends; reached is told of each
// phase once.
func probeBoot(ctx context.Context, p *proto.Process, reached func(proto.Phase)) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	live := p.Live.Port == 0
	for {
		if !live && answers(ctx, p.Live, false) {
			live = true
			reached(proto.PhaseLive)
		}
		if live && answers(ctx, p.Ready, true) {
			reached(proto.PhaseReady)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
