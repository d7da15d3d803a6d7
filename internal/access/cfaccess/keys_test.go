package cfaccess

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/test/fakeaccess"
)

func down(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }

// wantStatus signs in with a token and checks how that goes; 200 is a success.
func (w *world) wantStatus(token string, want int) {
	w.t.Helper()
	_, err := w.byHeader(token)
	got := 200
	if err != nil {
		got = w.refusal(err).Status()
	}
	if got != want {
		w.t.Errorf("%d, want %d: %v", got, want, err)
	}
}

// wantFetches checks how often the keys were asked for so far, when whatever goes
// on in the background is done. It needs a bubble of synctest.
func (w *world) wantFetches(want int) {
	w.t.Helper()
	synctest.Wait()
	if got := w.team.Fetches(); got != want {
		w.t.Errorf("%d fetches, want %d", got, want)
	}
}

func TestKeysThatRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.team.Token(w.ann())
		w.wantStatus(first, 200)
		w.team.Rotate()
		second := w.team.Token(w.ann())
		w.wantStatus(second, 403) // the keys were fetched this very minute
		w.wantFetches(1)
		w.clock.pass(time.Minute)
		w.wantStatus(second, 200)
		w.wantStatus(first, 200)
		w.wantFetches(2)
		w.team.Rotate() // and the first key is gone
		w.clock.pass(time.Minute)
		w.wantStatus(w.team.Token(w.ann()), 200)
		w.wantStatus(first, 403)
		w.wantFetches(3)
	})
}

func TestUnknownKeysCostOneFetchAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		forged := fakeaccess.NewKey()
		for i := range 1000 {
			w.wantStatus(fakeaccess.Sign(forged.Private, "RS256", fmt.Sprintf("%064d", i), w.ann()), 403)
			if i%100 == 99 {
				w.clock.pass(time.Minute)
			}
		}
		w.wantFetches(10)
	})
}

func TestManyAtOnceShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.team.Break(func(rw http.ResponseWriter, r *http.Request) {
			<-release
			json.NewEncoder(rw).Encode(fakeaccess.KeySet(w.team.Current()))
		})
		token := w.team.Token(w.ann())
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { w.wantStatus(token, 200) })
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.Authenticate(request(t, token).WithContext(gone), access.Place{}); w.refusal(err).Status() != 503 {
			t.Errorf("a caller who went away: %v", err)
		}
		close(release)
		all.Wait()
		w.wantFetches(1)
	})
}

func TestKeysAreFetchedAgainEveryHourBehindItsUsersBacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		long := w.team.Token(w.ann().With(fakeaccess.Claims{"exp": w.clock.now().Add(100 * time.Hour).Unix()}))
		w.wantStatus(long, 200)
		w.clock.pass(59 * time.Minute)
		w.wantStatus(long, 200)
		w.wantFetches(1)
		w.clock.pass(time.Minute)
		release := make(chan struct{})
		w.team.Break(func(rw http.ResponseWriter, r *http.Request) {
			<-release
			json.NewEncoder(rw).Encode(fakeaccess.KeySet(w.team.Current()))
		})
		w.wantStatus(long, 200) // while the fetch goes on
		w.wantStatus(long, 200)
		w.wantFetches(2)
		close(release)
		synctest.Wait()
		w.wantStatus(long, 200)
		w.wantFetches(2)
		if w.clock.pass(-time.Hour); w.keys.byID == nil { // set back: nothing breaks
			t.Error("the keys are gone")
		}
		w.wantStatus(long, 200)
	})
}

func TestAnEndpointThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.team.Break(down)
		long := w.team.Token(w.ann().With(fakeaccess.Claims{"exp": w.clock.now().Add(100 * time.Hour).Unix()}))
		_, err := w.byHeader(long)
		r := w.refusal(err)
		if r.Status() != 503 || !r.Final || r.RetryAfter <= 0 || !strings.Contains(r.Detail, issuer+fakeaccess.CertsPath) || !strings.Contains(r.Detail, "502") || strings.Contains(r.Error(), issuer) {
			t.Errorf("%+v", r)
		}
		w.wantStatus(long, 503)
		w.wantFetches(1) // not again at once
		w.clock.pass(retryAfter)
		w.wantStatus(long, 503)
		w.wantFetches(2)
		w.team.Break(nil)
		w.clock.pass(retryAfter)
		w.wantStatus(long, 200)

		w.team.Break(down) // keys go on counting for a day
		w.clock.pass(time.Hour)
		w.wantStatus(long, 200)
		w.wantFetches(4)
		w.wantStatus(fakeaccess.Sign(fakeaccess.NewKey().Private, "RS256", "new", w.ann()), 503) // perhaps a new key: who knows
		w.wantFetches(4)
		w.clock.pass(time.Minute)
		w.wantStatus(long, 200)
		w.wantFetches(5)
		w.clock.pass(23*time.Hour - 2*time.Minute)
		w.wantStatus(long, 200)
		w.wantFetches(6)
		w.clock.pass(time.Minute)
		w.wantStatus(long, 503)
		w.team.Break(nil)
		w.clock.pass(time.Minute)
		w.wantStatus(long, 200)
	})
}

func TestAnEndpointThatAnswersBadly(t *testing.T) {
	good := fakeaccess.NewKey()
	marshal := func(set any) string {
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	otherUse := marshal(map[string]any{"keys": []jose.JSONWebKey{{Key: good.Private.Public(), KeyID: good.ID, Algorithm: "RS256", Use: "enc"}}})
	otherAlg := marshal(map[string]any{"keys": []jose.JSONWebKey{{Key: good.Private.Public(), KeyID: good.ID, Algorithm: "PS256", Use: "sig"}}})
	private := marshal(map[string]any{"keys": []jose.JSONWebKey{{Key: good.Private, KeyID: good.ID, Algorithm: "RS256", Use: "sig"}}})
	for name, how := range map[string]http.HandlerFunc{
		"slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[` + strings.Repeat(" ", maxKeySet)))
		},
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"a page":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>Sign in")) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		},
		"symmetric": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[{"kty":"oct","kid":"` + good.ID + `","k":"AAAA"}]}`))
		},
		"encryption":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(otherUse)) },
		"another alg": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(otherAlg)) },
		"private":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(private)) },
		"a small key": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[{"kty":"RSA","kid":"` + good.ID + `","e":"AQAB","n":"` + strings.Repeat("_", 172) + `"}]}`))
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.team.Break(how)
			began := time.Now() // in the bubble
			w.wantStatus(fakeaccess.Sign(good.Private, "RS256", good.ID, w.ann()), 503)
			if waited := time.Since(began); waited > fetchTimeout || name == "slow" && waited != fetchTimeout {
				t.Errorf("%s: gave up after %v", name, waited)
			}
			if len(w.keys.byID) != 0 {
				t.Errorf("%s: it has keys", name)
			}
		})
	}
}

func TestOneBadKeyDoesNotSpoilTheOthers(t *testing.T) {
	good := fakeaccess.NewKey()
	set, err := json.Marshal(fakeaccess.KeySet(good))
	if err != nil {
		t.Fatal(err)
	}
	found, err := parseKeys([]byte(strings.Replace(string(set), `"keys":[`, `"keys":[{"kty":"new"},{"kty":"OKP","crv":"Ed25519","x":"x"},5,`, 1)))
	if err != nil || len(found) != 1 || found[good.ID] == nil {
		t.Errorf("%d keys, %v", len(found), err)
	}
	var many []fakeaccess.Key
	for i := range 2 * maxKeys {
		many = append(many, fakeaccess.Key{ID: fmt.Sprint(i), Private: good.Private})
	}
	if set, err = json.Marshal(fakeaccess.KeySet(many...)); err != nil {
		t.Fatal(err)
	}
	if found, err = parseKeys(set); err != nil || len(found) != maxKeys {
		t.Errorf("%d keys, %v", len(found), err)
	}
}

func FuzzParseKeys(f *testing.F) {
	set, err := json.Marshal(fakeaccess.KeySet(fakeaccess.NewKey()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(set)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":""}]}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		found, err := parseKeys(set)
		if (len(found) == 0) != (err != nil) {
			t.Errorf("%d keys, %v", len(found), err)
		}
	})
}
