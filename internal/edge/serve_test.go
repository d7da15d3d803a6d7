package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOversizedHeader(t *testing.T) {
	w := serve(t)
	r := w.request(t, "GET", "/", nil)
	r.Header.Set("X-Big", strings.Repeat("x", 128<<10))
	if resp, _ := do(t, r); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("128 KiB of header: %s", resp.Status)
	}
	r.Header.Set("X-Big", strings.Repeat("x", 32<<10))
	if resp, _ := do(t, r); resp.StatusCode != http.StatusOK {
		t.Errorf("32 KiB of header: %s", resp.Status)
	}
}

// A client that never finishes its header is shown the door; one that has
// finished it may take its time.
func TestSlowLoris(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.ReadHeader = 50 * time.Millisecond })
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection stayed open: %v", err)
	}
	if w.main.reached() != 0 {
		t.Error("half a request reached the guest")
	}

	socket, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	until(t, "far more than the header's time", func() bool { return time.Since(begun) > 4*w.opts.Limits.ReadHeader })
	echo(t, socket, "still here")
}

func TestConnectionCap(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.Connections = 2 })
	a, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(w.request(t, "GET", "/", nil))
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	echo(t, a, "places are taken")
	select {
	case status := <-answered:
		t.Fatalf("a third connection was served: %d", status)
	default:
	}
	b.CloseNow()
	if status := <-answered; status != 200 {
		t.Errorf("after one left: %d", status)
	}
}

func TestHTTP2InTheClear(t *testing.T) {
	w := serve(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	checkHTTP2(t, w, tr, "http://")
}

func TestHTTP2OverTLSAndRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1, time.Unix(1000, 0))
	w := serve(t, func(o *Options) { o.CertFile, o.KeyFile = cert, key })
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp := checkHTTP2(t, w, tr, "https://")
	if got := w.main.last(t).Header.Get("X-Forwarded-Proto"); got != "https" {
		t.Errorf("X-Forwarded-Proto %q", got)
	}
	if n := resp.TLS.PeerCertificates[0].SerialNumber.Int64(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	r := browse(mustRequest(t, "GET", "https://"+w.addr+"/?token="+testToken))
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if c := resp.Cookies(); len(c) != 1 || !c[0].Secure || !strings.HasPrefix(c[0].Name, "__Host-") {
		t.Errorf("cookies over TLS: %v", c)
	}

	if err := os.WriteFile(cert, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := w.serial(t); n != 1 {
		t.Errorf("with an unreadable renewal: certificate %d", n)
	}
	writeCertificate(t, cert, key, 2, time.Unix(2000, 0))
	if n := w.serial(t); n != 2 {
		t.Errorf("after the renewal: certificate %d", n)
	}
}

func checkHTTP2(t *testing.T, w *world, tr *http.Transport, scheme string) *http.Response {
	t.Helper()
	r := w.request(t, "GET", "/h2", nil)
	r.URL.Scheme = strings.TrimSuffix(scheme, "://")
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.Contains(string(body), "/h2") {
		t.Errorf("%s %s: %s", resp.Proto, resp.Status, body)
	}
	return resp
}

func (w *world) serial(t *testing.T) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", w.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func writeCertificate(t *testing.T, certFile, keyFile string, serial int64, changed time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(certFile, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func TestMissingCertificateIsToldAtOnce(t *testing.T) {
	w := serve(t)
	opts := w.opts
	opts.CertFile, opts.KeyFile = "/nowhere/cert.pem", "/nowhere/key.pem"
	e, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("Serve: %v", err)
	}
}

// Shutting down ends WebSockets at once and lets a request under way finish.
func TestShutdown(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.Shutdown = 20 * time.Second })
	socket, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	more, body := io.Pipe()
	resp, err := http.DefaultTransport.RoundTrip(w.request(t, "POST", "/stream", more))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	if _, _, err := socket.Read(testCtx(t)); err == nil {
		t.Error("the WebSocket went on")
	}
	go func() { _, _ = body.Write([]byte("123")); body.Close() }()
	if all, err := io.ReadAll(resp.Body); err != nil || strings.Count(string(all), "data:") != 3 {
		t.Errorf("the request under way ended with %q, %v", all, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("the listener is still open")
	}
}

func TestPanicIsNotTold(t *testing.T) {
	w := serve(t, func(o *Options) {
		lookup := o.Lookup
		o.Lookup = func(name string) (Backend, bool) {
			if name == "boom" {
				panic("secret detail")
			}
			return lookup(name)
		}
	})
	r := w.request(t, "GET", "/", nil)
	r.Host = "boom.localhost"
	resp, body := do(t, r)
	if resp.StatusCode != 500 || strings.Contains(body, "secret detail") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	if !strings.Contains(w.logged.String(), "secret detail") {
		t.Error("the log does not say why")
	}
}
