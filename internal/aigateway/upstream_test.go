package aigateway

import (
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/test/fakemodel"
)

func TestNewRefusesUnusableBaseURL(t *testing.T) {
	set := func(name, value string) func() provider.Settings {
		return func() provider.Settings {
			return func(asked string) (string, bool) { return value, asked == name }
		}
	}
	_, err := New(Options{Settings: set("OPENAI_BASE_URL", "http://models.example/v1")})
	if err == nil || !strings.Contains(err.Error(), "OPENAI_BASE_URL") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Options{Settings: set("", "")}); err != nil {
		t.Errorf("defaults: %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no Settings, no error")
	}
}

// The other routes reach their place.
func TestOtherRoutes(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Usage: fakemodel.Usage{In: 321}} })
	count := apis[0].request(r.url, false)
	count.URL.Path += "/count_tokens"
	if got := r.do(count); got.StatusCode != 200 || got.body != `{"input_tokens":321}` {
		t.Errorf("count_tokens: %d %s", got.StatusCode, got.body)
	}
	models := apis[1].request(r.url+"/openai/v1/models", false)
	models.Method, models.URL.Path = "GET", "/openai/v1/models"
	models.Body, models.ContentLength = nil, 0
	if got := r.do(models); got.StatusCode != 200 || !strings.Contains(got.body, "fake-model") {
		t.Errorf("models: %d %s", got.StatusCode, got.body)
	}
}
