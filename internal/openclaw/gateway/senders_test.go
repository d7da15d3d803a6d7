package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What channels tell of a sender is theirs to choose; what we show is one clean line.
func TestSendersAreShownCleanly(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for metadata, want := range map[string]string{
		`{"username":"ann","firstName":"Ann","lastName":"Lee"}`: "ann (Ann Lee)",
		`{"firstName":"Ann"}`:                                 "Ann",
		`{"username":"a\u001b[31mb\nc\u202e"}`:                "a [31mb c",
		`{"username":{"deep":1},"name":7,"displayName":"Bo"}`: "Bo",
		`{"other":"x"}`:                                       "",
		`{}`:                                                  "",
		fmt.Sprintf(`{"username":%q}`, long):                  long[:512],
	} {
		c := mustDial(t, fake(t, answering(map[string]string{
			"channels.pairing.list": ok("ID", `{"requests":[{"requestId":"r","channel":"telegram","accountId":"default","senderId":"4711","senderLabel":"telegramUserId",
				"metadata":`+metadata+`,"createdAt":"2026-01-02T03:04:05.000Z","expiresAt":"never"}]}`),
		})))
		senders, err := c.Senders(within(t))
		if err != nil || len(senders) != 1 || senders[0].Label != want || senders[0].SenderID != "4711" ||
			!senders[0].Asked.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) || !senders[0].Expires.IsZero() {
			t.Errorf("%.60s: %+v, %v", metadata, senders, err)
		}
	}
}

func TestSendersAreBounded(t *testing.T) {
	c := mustDial(t, fake(t, answering(map[string]string{
		"channels.pairing.list": ok("ID", `{"requests":[`+strings.TrimSuffix(strings.Repeat(`{"requestId":"r"},`, 5000), ",")+`]}`),
	})))
	if senders, err := c.Senders(within(t)); err != nil || len(senders) != 1000 {
		t.Errorf("%d, %v", len(senders), err)
	}
}
