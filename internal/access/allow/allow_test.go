package allow

import "testing"

func TestWhoIsOnTheList(t *testing.T) {
	l := New([]string{"Ann@Example.com", " @Staff.example ", "0f2e.access", "", "@"})
	for address, want := range map[string]bool{
		"ann@example.com":            true,
		"ANN@EXAMPLE.COM":            true,
		"bob@example.com":            false,
		"bob@staff.example":          true,
		"bob@STAFF.example":          true,
		"bob@sub.staff.example":      false,
		"bob@notstaff.example":       false,
		"bob@staff.example.evil":     false,
		"bob@evil@staff.example":     false,
		"\"bob@evil\"@staff.example": false,
		"bob@staff.example\n":        false,
		"@staff.example":             false,
		"bob@":                       false,
		"ann":                        false,
		"0f2e.access":                false, // a name, no address
		"bob@\u017ftaff.example":     false, // a long s, whose capital is S
		"ann@example.com ":           false,
		"":                           false,
	} {
		if got := l.HasAddress(address); got != want {
			t.Errorf("%q is on the list: %v", address, got)
		}
	}
	if !l.HasName("0F2E.access") || l.HasName("x.access") || l.HasName("") || l.HasName("@") {
		t.Error("names are not found as they are")
	}
	if !New([]string{" ", "@"}).IsEmpty() || l.IsEmpty() {
		t.Error("IsEmpty is wrong")
	}
}

func FuzzHasAddress(f *testing.F) {
	f.Add("ann@example.com")
	f.Add("x@@example.com")
	l := New([]string{"@example.com"})
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := Address(s); l.HasAddress(s) && (!ok || len(a) < len("a@example.com") || a[len(a)-len("@example.com"):] != "@example.com") {
			t.Errorf("%q is on the list", s)
		}
	})
}
