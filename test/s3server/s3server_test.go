package s3server_test

import (
	"net/http"
	"testing"

	"github.com/moltworker/moltworker/test/s3server"
)

func TestServerAnswersOnlyItsOwnKeys(t *testing.T) {
	endpoint, access, secret := s3server.Start(t)
	bucket := s3server.Bucket(t, endpoint, access, secret)
	res, err := http.Get(endpoint + "/" + bucket + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("an unsigned request got %s", res.Status)
	}
}
