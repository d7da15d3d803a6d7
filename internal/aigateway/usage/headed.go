package usage

import (
	"net/http"
	"strconv"
)

// Headed takes what an answer's header says of its tokens. Amazon Bedrock's raw
// InvokeModel says it there, whatever the model's own form of answer says or leaves
// out (Bedrock user guide, monitoring with runtime metrics:
// X-Amzn-Bedrock-Input-Token-Count, -Output-Token-Count, -Cache-Read-Input-Token-Count
// and -Cache-Write-Input-Token-Count). What the answer itself says counts before it.
func (m *Meter) Headed(h http.Header) {
	if m.kind != BedrockRaw {
		return
	}
	for name, f := range headed {
		if n, err := strconv.ParseInt(h.Get(name), 10, 64); err == nil && n >= 0 && n <= maxCount {
			m.say(f, n)
		}
	}
}

var headed = map[string]field{
	"X-Amzn-Bedrock-Input-Token-Count":             metricIn,
	"X-Amzn-Bedrock-Output-Token-Count":            metricOut,
	"X-Amzn-Bedrock-Cache-Read-Input-Token-Count":  metricRead,
	"X-Amzn-Bedrock-Cache-Write-Input-Token-Count": metricWrite,
}
