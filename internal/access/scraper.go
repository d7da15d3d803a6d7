package access

// Scraper is a program of this machine that reads the metrics, as Prometheus does
// beside what it watches. Whoever lets it in has made sure where it is.
func Scraper() Principal {
	return Principal{Kind: KindService, Name: "on this machine", Via: ViaLoopback, Source: SourceLine, Scopes: []Scope{ReadMetrics}}
}
