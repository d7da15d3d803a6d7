package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxModel bounds a model's name, in bytes.
const maxModel = 256

// Compat takes the provider off a model's name as the unified API has it:
// "anthropic/claude-sonnet-4-5" is anthropic and "claude-sonnet-4-5",
// "openrouter/openai/gpt-5" is openrouter and "openai/gpt-5". What is left is the
// model's name on the wire, unchanged. It fails for names of no provider, and of
// providers without Chat Completions.
func Compat(model string) (p *Provider, wire string, ok bool) {
	name, wire, ok := strings.Cut(model, "/")
	if !ok || wire == "" || len(model) > maxModel {
		return nil, "", false
	}
	for _, c := range []byte(wire) {
		if c <= ' ' || c > '~' {
			return nil, "", false
		}
	}
	p, ok = Lookup(name)
	if !ok || p.chat == "" {
		return nil, "", false
	}
	return p, wire, true
}

// Chat is the provider's endpoint of Chat Completions for a model, as its own
// documentation has it: whichever that is, the body's model is the name on the wire.
// Where the path needs more than the model, it comes from settings: the first of
// AZURE_OPENAI_RESOURCE, AWS_REGION, GOOGLE_CLOUD_PROJECT (or the project of the
// service account) and GOOGLE_CLOUD_LOCATION (or "global").
func (p *Provider) Chat(model string, get Settings) (Endpoint, error) {
	path := p.chat
	if path == "" {
		return Endpoint{}, fmt.Errorf("%s has no Chat Completions API", p.Name)
	}
	return p.fill(path, model, get)
}

// fill puts a model and what settings say into a path, and finds its endpoint.
func (p *Provider) fill(path, model string, get Settings) (Endpoint, error) {
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		name, after, _ := strings.Cut(rest, "}")
		v, err := chatArg(name, model, get)
		if err != nil {
			return Endpoint{}, err
		}
		path = before + v + after
	}
	ep, ok := p.Match(post, path)
	if !ok {
		return Endpoint{}, errors.New("this model's name cannot be in a path")
	}
	return ep, nil
}

// chatArg is what stands for a parameter of a path of Chat Completions.
func chatArg(name, model string, get Settings) (string, error) {
	var v, setting string
	var valid func(string) bool
	switch name {
	case "deployment":
		if strings.ContainsAny(model, "/%{}") {
			return "", errors.New("this model's name cannot be that of a deployment")
		}
		return model, nil
	case "resource":
		first, _, _ := strings.Cut(get.value(azureResourceName), ",")
		v, setting, valid = strings.ToLower(strings.TrimSpace(first)), azureResourceName, isLabel
	case "region":
		v, setting, valid = get.value(awsRegionName), awsRegionName, isRegion
	case "project":
		v, setting, valid = project(get), projectName, isLabel
	case "location":
		if v = get.value(locationName); v == "" {
			v = "global"
		}
		setting, valid = locationName, isLocation
	}
	if v == "" {
		return "", &MissingError{Names: []string{setting}}
	}
	if !valid(v) {
		return "", fmt.Errorf("%s has not the form of its kind", setting)
	}
	return v, nil
}

// project is the Google project that calls are made in.
func project(get Settings) string {
	if v := get.value(projectName); v != "" {
		return v
	}
	var a account
	if v := get.value(googleAccountName); len(v) <= maxAccount && json.Unmarshal([]byte(v), &a) == nil {
		return a.Project
	}
	return ""
}
