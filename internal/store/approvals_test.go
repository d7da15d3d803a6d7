package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/store"
)

func TestApprovalsAreKeptNamedAndForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.db")
	db, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	first := store.Approval{Agent: "main", Device: "d'; DROP TABLE device_approvals; --", Request: "r1",
		By: "person ann@example.com", Via: "passkey", How: "by hand", At: at}
	again := first
	again.Request, again.By, again.How = "r2", "person bob", "automatic"
	for _, do := range []error{
		db.PutApproval(t.Context(), first),
		db.NameDevice(t.Context(), "main", first.Device, "Ann's <b>phone</b>"),
		db.PutApproval(t.Context(), again),
		db.NameDevice(t.Context(), "main", "never approved here", "tablet"),
		db.PutApproval(t.Context(), store.Approval{Agent: "other", Device: first.Device}),
	} {
		if do != nil {
			t.Fatal(do)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = store.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	again.Name = "Ann's <b>phone</b>"
	found, err := db.Approvals(t.Context(), "main")
	if err != nil || len(found) != 2 || found[first.Device] != again || found["never approved here"].Name != "tablet" {
		t.Errorf("%+v, %v", found, err)
	}
	if err := db.RemoveApproval(t.Context(), "main", first.Device); err != nil {
		t.Fatal(err)
	}
	if err := db.RemoveApproval(t.Context(), "main", "nobody's"); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	if err := errors.Join(db.ForgetDevices(t.Context(), "main"), db.ForgetDevices(t.Context(), "main")); err != nil {
		t.Fatal(err)
	}
	if found, err := db.Approvals(t.Context(), "main"); err != nil || len(found) != 0 {
		t.Errorf("after forgetting: %+v, %v", found, err)
	}
	if found, err := db.Approvals(t.Context(), "other"); err != nil || len(found) != 1 {
		t.Errorf("another agent's: %+v, %v", found, err)
	}
}

func TestDeviceListsAreTheNewestSeen(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "control.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, _, err := db.DeviceList(t.Context(), "main"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("never seen: %v", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, list := range []string{`[]`, `{"paired":[]}`} {
		at = at.Add(time.Hour)
		if err := db.PutDeviceList(t.Context(), "main", at, []byte(list)); err != nil {
			t.Fatal(err)
		}
	}
	list, seen, err := db.DeviceList(t.Context(), "main")
	if err != nil || string(list) != `{"paired":[]}` || !seen.Equal(at) {
		t.Errorf("%s of %s, %v", list, seen, err)
	}
}
