package translate

import (
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	const (
		anthropic = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded <now>"},"request_id":"req_1"}`
		chat      = `{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`
		google    = `{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x"}]}}`
	)
	for _, test := range []struct {
		doc      string
		status   int
		from, to API
		want     string
	}{
		{anthropic, 529, Anthropic, Chat, `{"error":{"message":"Overloaded <now>","type":"server_error","param":null,"code":null}}`},
		{anthropic, 529, Anthropic, Gemini, `{"error":{"code":529,"message":"Overloaded <now>","status":"UNAVAILABLE"}}`},
		{chat, 401, Chat, Anthropic, `{"type":"error","error":{"type":"authentication_error","message":"Incorrect API key provided."}}`},
		{chat, 401, Chat, Gemini, `{"error":{"code":401,"message":"Incorrect API key provided.","status":"UNAUTHENTICATED"}}`},
		{google, 429, Gemini, Anthropic, `{"type":"error","error":{"type":"rate_limit_error","message":"You exceeded your current quota."}}`},
		{google, 429, Gemini, Chat, `{"error":{"message":"You exceeded your current quota.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		{"[" + google + "]", 200, Gemini, Anthropic, `{"type":"error","error":{"type":"rate_limit_error","message":"You exceeded your current quota."}}`},
		{`{"error":"model not loaded"}`, 404, Chat, Anthropic, `{"type":"error","error":{"type":"not_found_error","message":"model not loaded"}}`},
		{`{"object":"error","message":"too long","type":"BadRequestError","code":400}`, 0, Chat, Anthropic, `{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}`},
		{`{"detail":"Not Found"}`, 404, Chat, Gemini, `{"error":{"code":404,"message":"Not Found","status":"NOT_FOUND"}}`},
		{`upstream connect error`, 503, Chat, Anthropic, `{"type":"error","error":{"type":"api_error","message":"upstream connect error"}}`},
		{`<html>no</html>`, 502, Chat, Anthropic, `{"type":"error","error":{"type":"api_error","message":"The provider answered: Bad Gateway"}}`},
		{``, 599, Chat, Gemini, `{"error":{"code":599,"message":"The provider answered: Status 599","status":"UNAVAILABLE"}}`},
		{`null`, 413, Gemini, Anthropic, `{"type":"error","error":{"type":"request_too_large","message":"null"}}`},
		{`[]`, 400, Gemini, Chat, `{"error":{"message":"The provider answered: Bad Request","type":"invalid_request_error","param":null,"code":null}}`},
	} {
		sameJSON(t, Error([]byte(test.doc), test.status, test.from, test.to), test.want)
	}
}

func TestStatusOfStreamErrors(t *testing.T) {
	for doc, want := range map[string]StreamError{
		`{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`:    {429, "rate_limit_error", "slow"},
		`{"type":"error","error":{"type":"newer_error","message":"odd"}}`:          {502, "newer_error", "odd"},
		`{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}`:           {503, "UNAVAILABLE", "busy"},
		`{"error":{"message":"none left","type":"x","code":"insufficient_quota"}}`: {429, "x", "none left"},
		`{"error":{"code":99999999999999999999,"message":"big"}}`:                  {502, "", "big"},
		`{"error":{}}`: {502, "", "The provider reported an error without a message."},
		`{"error":{"message":{"text":"x"},"type":5}}`: {502, "", "The provider reported an error without a message."},
	} {
		if got := newStreamError([]byte(doc), ""); *got != want {
			t.Errorf("%s: %+v, want %+v", doc, *got, want)
		}
	}
}

// What an API says of an error goes with the status that another would have had.
func TestErrorsWithoutStatus(t *testing.T) {
	for _, test := range []struct{ google, anthropic string }{
		{"INVALID_ARGUMENT", "invalid_request_error"},
		{"UNAUTHENTICATED", "authentication_error"},
		{"PERMISSION_DENIED", "permission_error"},
		{"NOT_FOUND", "not_found_error"},
		{"RESOURCE_EXHAUSTED", "rate_limit_error"},
		{"INTERNAL", "api_error"},
		{"DEADLINE_EXCEEDED", "timeout_error"},
	} {
		sameJSON(t, Error([]byte(`{"error":{"message":"m","status":"`+test.google+`"}}`), 200, Gemini, Anthropic),
			`{"type":"error","error":{"type":"`+test.anthropic+`","message":"m"}}`)
		back := Error([]byte(`{"type":"error","error":{"message":"m","type":"`+test.anthropic+`"}}`), 200, Anthropic, Gemini)
		if !strings.Contains(string(back), `"status":"`+test.google+`"`) {
			t.Errorf("%s became %s", test.anthropic, back)
		}
	}
	sameJSON(t, Error([]byte(`{"error":{"type":"billing_error","message":"m"}}`), 0, Anthropic, Chat),
		`{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}`)
	sameJSON(t, Error([]byte(`{"error":{"code":402,"message":"m"}}`), 0, Chat, Anthropic),
		`{"type":"error","error":{"type":"billing_error","message":"m"}}`)
	sameJSON(t, Error([]byte(`{"error":{"code":403,"message":"m"}}`), 0, Chat, Gemini),
		`{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED"}}`)
}

func TestLongMessages(t *testing.T) {
	doc := `{"error":{"message":"` + strings.Repeat("ü", maxMessage) + `","type":"` + strings.Repeat("t", 1000) + `"}}`
	e := newStreamError([]byte(doc), Chat)
	// "ü" has two bytes, of which maxMessage holds 2048.
	if want := strings.Repeat("ü", 2048) + "..."; e.Error() != want || len(e.Type) != 64 {
		t.Errorf("%d bytes of message, %d of type", len(e.Message), len(e.Type))
	}
}
