package provider

import (
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Every way that is written down leads to an endpoint of its form.
func TestEveryWayIsAnEndpoint(t *testing.T) {
	get := func(name string) (string, bool) {
		v, ok := map[string]string{azureResourceName: "ours", projectName: "house", awsRegionName: "eu-west-1"}[name]
		return v, ok
	}
	for form, all := range ways {
		for name := range all {
			p, ok := Lookup(name)
			if !ok {
				t.Fatalf("%s is no provider", name)
			}
			for _, stream := range []bool{false, true} {
				ep, err := p.At(form, "m-1", stream, get)
				if err != nil || ep.Kind != form || !ep.Paid {
					t.Errorf("%s at %s: %v %v", form, name, ep.Kind, err)
				}
				if form == usage.Gemini && (ep.Model != "m-1" || strings.Contains(ep.Path(), ":stream") != stream) {
					t.Errorf("%s with stream %v goes to %s", name, stream, ep.Path())
				}
			}
		}
	}
	openai, _ := Lookup("openai")
	if _, err := openai.At(usage.Gemini, "m-1", false, get); err == nil {
		t.Error("OpenAI speaks Google's form")
	}
	google, _ := Lookup("google-ai-studio")
	if _, err := google.At(usage.Gemini, "a/b", false, get); err == nil {
		t.Error("a model's name reaches into the path")
	}
	if ep, err := openai.At(usage.Chat, "gpt-x", true, get); err != nil || ep.Kind != usage.Chat {
		t.Errorf("Chat at OpenAI: %v %v", ep.Kind, err)
	}
}
