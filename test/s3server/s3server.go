// Package s3server owns a real S3 server for tests: versitygw, on a port of this
// machine, with a directory and credentials of its own for each test. It must
// not know what is stored there.
//
// The server is a tool dependency of the module in ./versitygw, not of the
// product. It is built once for each machine, into the user's cache directory.
package s3server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// Region is what the server believes to be in.
const Region = "us-east-1"

// bootLimit bounds the wait for the server, on a machine that does much else.
const bootLimit = time.Minute

// attempts to find a port that nobody else takes before the server does.
const attempts = 5

// Start starts a server without buckets, which ends with the test. endpoint is
// "http://127.0.0.1:PORT", for path-style addresses.
func Start(t testing.TB) (endpoint, accessKey, secretKey string) {
	t.Helper()
	program := binary(t)
	accessKey, secretKey = "test"+random(8), random(20)
	var err error
	for range attempts {
		if endpoint, err = start(t, program, accessKey, secretKey); err == nil {
			return endpoint, accessKey, secretKey
		}
	}
	t.Fatalf("start the S3 server: %v", err)
	return "", "", ""
}

// Bucket makes a bucket with a random name on a server that Start started.
func Bucket(t testing.TB, endpoint, accessKey, secretKey string) (name string) {
	t.Helper()
	name = "bucket-" + random(6)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, endpoint+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	empty := sha256.Sum256(nil)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(empty[:]))
	res, err := http.DefaultClient.Do(signer.SignV4(*req, accessKey, secretKey, "", Region))
	if err != nil {
		t.Fatalf("make a bucket: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("make a bucket: %s", res.Status)
	}
	return name
}

// start starts the program on some free port and waits until it answers.
func start(t testing.TB, program, accessKey, secretKey string) (endpoint string, err error) {
	addr, err := freePort()
	if err != nil {
		return "", err
	}
	dir := t.TempDir()
	data, about := filepath.Join(dir, "data"), filepath.Join(dir, "about")
	for _, d := range []string{data, about} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return "", err
		}
	}
	var out output
	cmd := exec.Command(program, "--port", addr, "--region", Region, "--health", "/health", "--quiet",
		"posix", "--sidecar", about, data) // extended attributes are not everywhere
	cmd.Dir = dir
	// Nothing of the machine's settings, some of which name certificates that it cannot read.
	cmd.Env = []string{"ROOT_ACCESS_KEY_ID=" + accessKey, "ROOT_SECRET_ACCESS_KEY=" + secretKey, "TMPDIR=" + dir, "HOME=" + dir}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel binds the signal to the thread that starts the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return "", err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	if err := answers(t.Context(), "http://"+addr+"/health", exited); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out.String())
	}
	return "http://" + addr, nil
}

// answers waits until the server does.
func answers(ctx context.Context, url string, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-exited:
			return fmt.Errorf("the server ended")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", ctx.Err())
		case <-poll.C:
		}
	}
}

// freePort returns an address that nobody listened on a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// output keeps what the server prints.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
