package accounts

import "testing"

// BenchmarkPassword is what one guess costs us, and whoever stole the hashes.
func BenchmarkPassword(b *testing.B) {
	h, err := newHasher(passwordCost)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.matches(b.Context(), "", "", stranger); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSession is what every request of somebody signed in costs.
func BenchmarkSession(b *testing.B) {
	b.StopTimer()
	w := newWorld(b)
	r, ann := w.browser().request(), w.first()
	for name, value := range ann.jar {
		r.Header.Add("Cookie", name+"="+value)
	}
	b.StartTimer()
	for b.Loop() {
		if _, err := w.Sessions().Authenticate(r, ann.place()); err != nil {
			b.Fatal(err)
		}
	}
}
