package provider

import "strings"

// hostOf is the host that an endpoint's parameters choose. They have passed
// validArg, so each is a label of a host name and nothing else.
type hostOf func(ep *Endpoint) string

// azureHost is the host of an Azure OpenAI resource.
func azureHost(ep *Endpoint) string {
	return ep.arg("resource") + ".openai.azure.com"
}

// bedrockHost is the host of a region's runtime, or of its mantle endpoint, in the
// partition that the region is in (AWS General Reference, Bedrock endpoints).
func bedrockHost(ep *Endpoint) string {
	region := ep.arg("region")
	if ep.mantle() {
		return "bedrock-mantle." + region + ".api.aws"
	}
	host := "bedrock-runtime." + region
	switch {
	case strings.HasPrefix(region, "cn-"):
		return host + ".amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return host + ".amazonaws.eu"
	}
	return host + ".amazonaws.com"
}

// vertexHost is the host of a location of Vertex AI: one for each region, one for
// all, and one for each of the multi-regions.
func vertexHost(ep *Endpoint) string {
	switch location := ep.arg("location"); location {
	case "global":
		return "aiplatform.googleapis.com"
	case "us", "eu":
		return "aiplatform." + location + ".rep.googleapis.com"
	default:
		return location + "-aiplatform.googleapis.com"
	}
}

func (ep *Endpoint) arg(name string) string { return ep.rule.arg(&ep.args, name) }

// mantle reports whether the endpoint is on Bedrock's mantle host.
func (ep *Endpoint) mantle() bool { return ep.rule.in[0].lit == "bedrock-mantle" }

// isRegion reports whether s has the form of an AWS region: two to four words of
// letters and a number of at most two digits, like us-east-1 or us-gov-west-1.
func isRegion(s string) bool {
	words := 0
	for {
		word, rest, more := strings.Cut(s, "-")
		if !more {
			return (words == 2 || words == 3) && isNumber(word)
		}
		if !isWord(word) || words == 3 {
			return false
		}
		words++
		s = rest
	}
}

// isLocation reports whether s has the form of a location of Vertex AI: two words
// and a number, like europe-west4, or one of those that are no region.
func isLocation(s string) bool {
	switch s {
	case "global", "us", "eu":
		return true
	}
	first, second, ok := strings.Cut(s, "-")
	name := strings.TrimRight(second, "0123456789")
	return ok && isWord(first) && isWord(name) && isNumber(second[len(name):])
}

// isWord reports whether s is 2 to 14 lower-case letters.
func isWord(s string) bool {
	for i := range len(s) {
		if !isLower(s[i]) {
			return false
		}
	}
	return len(s) >= 2 && len(s) <= 14
}

// isNumber reports whether s is one or two digits.
func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return len(s) == 1 || len(s) == 2
}
