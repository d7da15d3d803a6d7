package sandboxtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A routine is what a probe does all its life, as the agents do: it counts in
// memory and writes each number to its home.
type routine struct {
	Ballast int    // MiB of memory to hold and know by heart
	Unix    string // socket to be connected to, and again when that is lost; "" for none
}

// keptFiles are in the sandbox's memory.
var keptFiles = []string{"/tmp/kept", "/var/tmp/kept", "/dev/shm/kept", "/home/kept"}

// live counts until SIGTERM and ends with code 7. On SIGUSR1 it says whether
// all is still as it was at the beginning.
func live(arg string) int {
	var r routine
	if err := json.Unmarshal([]byte(arg), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	m := newMemory(r.Ballast)
	count, err := os.OpenFile("/home/agent/count", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	if r.Unix != "" {
		go stayConnected(r.Unix)
	}
	fmt.Println("up")
	tick := time.NewTicker(time.Millisecond)
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(count, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 96
		}
		select {
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				return 7
			}
			fmt.Println(m.check())
		case <-tick.C:
		}
	}
}

// memory is what a sandbox must not forget.
type memory struct {
	ballast []byte
	sum     [32]byte
	kept    *os.File // removed, but open
}

func newMemory(mib int) *memory {
	m := &memory{ballast: make([]byte, mib<<20)}
	source := rand.NewChaCha8([32]byte{1})
	source.Read(m.ballast)
	m.sum = sha256.Sum256(m.ballast)
	for _, name := range keptFiles {
		os.WriteFile(name, []byte(name), 0o600) // check tells when that failed
	}
	m.kept, _ = os.Create("/tmp/removed")
	io.WriteString(m.kept, "still here")
	os.Remove("/tmp/removed")
	return m
}

func (m *memory) check() string {
	if sha256.Sum256(m.ballast) != m.sum {
		return "memory spoilt"
	}
	for _, name := range keptFiles {
		content, err := os.ReadFile(name)
		if name == "/home/kept" && os.IsNotExist(err) {
			continue // not for this user to write
		}
		if string(content) != name {
			return fmt.Sprintf("%s is %q, %v", name, content, err)
		}
	}
	buf := make([]byte, 64)
	if n, err := m.kept.ReadAt(buf, 0); string(buf[:n]) != "still here" {
		return fmt.Sprintf("the removed file is %q, %v", buf[:n], err)
	}
	return "all as it was"
}

func stayConnected(path string) {
	for {
		conn, err := net.Dial("unix", path)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		io.Copy(io.Discard, conn) // until it is lost
		conn.Close()
	}
}
