package provider

import (
	"net/http"
	"strings"
	"testing"
)

// Rows of AWS's published test suite for Signature Version 4 (aws-sig-v4-test-suite,
// as it is in awslabs/aws-c-auth): key AKIDEXAMPLE, region us-east-1, service
// "service", host example.amazonaws.com, 2015-08-30T12:36:00Z. Paths are encoded
// once there, which is what is done here to a path that is not encoded yet.
func TestSigV4Vectors(t *testing.T) {
	const unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const sts = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
	const formHash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e" // of Param1=value1
	tests := []struct {
		name, method, path, query string
		header                    http.Header
		body, session             string
		signed, signature         string
	}{
		{"get-vanilla", get, "/", "", nil, "", "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query", get, "", "", nil, "", "", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-header-value-trim", get, "/", "", http.Header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}}, "", "",
			"host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"get-header-key-duplicate", get, "/", "", http.Header{"My-Header1": {"value2", "value2", "value1"}}, "", "",
			"host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-order", get, "/", "", http.Header{"My-Header1": {"value4", "value1", "value3", "value2"}}, "", "",
			"host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{"get-header-value-multiline", get, "/", "", http.Header{"My-Header1": {"value1\n  value2\n     value3"}}, "", "",
			"host;my-header1;x-amz-date", "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
		{"get-space", get, "/example space/", "", nil, "", "", "host;x-amz-date", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
		{"get-utf8", get, "/ሴ", "", nil, "", "", "host;x-amz-date", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{"get-unreserved", get, "/" + unreserved, "", nil, "", "", "host;x-amz-date", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"get-slash-dot-slash-unnormalized", get, "/./", "", nil, "", "", "host;x-amz-date", "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"},
		{"get-vanilla-empty-query-key", get, "/", "Param1=value1", nil, "", "", "host;x-amz-date", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-vanilla-query-order-key-case", get, "/", "Param2=value2&Param1=value1", nil, "", "", "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-order-encoded", get, "/", "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", nil, "", "", "host;x-amz-date", "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		{"get-vanilla-query-unreserved", get, "/", unreserved + "=" + unreserved, nil, "", "", "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"get-vanilla-utf8-query", get, "/", "ሴ=bar", nil, "", "", "host;x-amz-date", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"get-vanilla-with-session-token", get, "/", "", nil, "", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
			"host;x-amz-date;x-amz-security-token", "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
		{"post-sts-header-before", post, "/", "", nil, "", sts, "host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
		{"post-sts-header-after", post, "/", "", nil, "", "", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-vanilla-query", post, "/", "Param1=value1", nil, "", "", "host;x-amz-date", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{"post-header-key-sort", post, "/", "", http.Header{"My-Header1": {"value1"}}, "", "", "host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"post-x-www-form-urlencoded", post, "/", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Length": {"13"}, "X-Amz-Content-Sha256": {formHash}},
			"Param1=value1", "", "content-length;content-type;host;x-amz-content-sha256;x-amz-date", "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
		{"post-x-www-form-urlencoded-parameters", post, "/", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}, "Content-Length": {"13"}, "X-Amz-Content-Sha256": {formHash}},
			"Param1=value1", "", "content-length;content-type;host;x-amz-content-sha256;x-amz-date", "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
	}
	for _, tt := range tests {
		h := http.Header{}
		var named []string
		for name, v := range tt.header {
			h[name] = v
			named = append(named, strings.ToLower(name))
		}
		scope := sigScope{id: awsID, secret: awsSecret, session: tt.session, region: "us-east-1", service: "service"}
		scope.sign(sigRequest{method: tt.method, host: "example.amazonaws.com", path: tt.path, query: tt.query, header: h, body: []byte(tt.body)}, named, at2015())
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + tt.signed + ", Signature=" + tt.signature
		if got := h.Get("Authorization"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, want)
		}
		if h.Get("X-Amz-Security-Token") != tt.session || h.Get("X-Amz-Date") != "20150830T123600Z" {
			t.Errorf("%s: headers %v", tt.name, h)
		}
	}
}

// AWS General Reference, "Examples of how to derive a signing key": the key of
// 2012-02-15 for iam in us-east-1.
func TestSigningKey(t *testing.T) {
	s := sigScope{secret: awsSecret, region: "us-east-1", service: "iam"}
	day := at2015().AddDate(-3, -6, -15) // 2015-08-30 is 2012-02-15
	if day.Format(sigDay) != "20120215" {
		t.Fatal(day)
	}
	const want = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
	if got := hexOf(s.key(day)); got != want {
		t.Errorf("key %s, want %s", got, want)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func FuzzSigV4(f *testing.F) {
	f.Add("/model/a%3A0/converse", "a=1&b=%zz&c", "v", []byte("{}"))
	f.Add("", "&=&;", "\x00", []byte(nil))
	f.Fuzz(func(t *testing.T, path, query, value string, body []byte) {
		h := http.Header{"Content-Type": {value}}
		s := sigScope{id: awsID, secret: awsSecret, region: "us-east-1", service: "bedrock"}
		s.sign(sigRequest{method: post, host: "h", path: path, query: query, header: h, body: body}, []string{"content-type"}, at2015())
		a := h.Get("Authorization")
		if !strings.HasPrefix(a, sigAlgorithm+" Credential="+awsID) || strings.Contains(a, awsSecret) || len(a) != len(sigAlgorithm)+len(" Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=")+64 {
			t.Fatalf("%q", a)
		}
	})
}
