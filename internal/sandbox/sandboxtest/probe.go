package sandboxtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A question asks the probe to try things.
type question struct {
	Read, Write, Dial, Unix []string
}

// sight is what the probe saw inside. Its maps hold "" for what worked and the
// error for what did not.
type sight struct {
	Env        []string
	Dir        string
	Hostname   string
	UID, GID   int
	PID        int
	Status     map[string]string // of /proc/self/status
	Processes  map[string]string // number to command line
	Interfaces []string
	Open       map[string]string // descriptor to what it is
	Mounts     string
	Passwd     string
	Root       []string // entries of /
	Read       map[string]string
	Write      map[string]string
	Dial       map[string]string
	Unix       map[string]string
}

// probe is what this binary does inside; it gives the exit code.
func probe(args []string) int {
	switch args[0] {
	case "look":
		return look(args[1])
	case "sleep":
		return sleep()
	case "live":
		return live(args[1])
	case "hog":
		return hog()
	case "feed-hog":
		return feedHog()
	case "fill":
		return fill()
	}
	fmt.Fprintf(os.Stderr, "unknown probe %q\n", args)
	return 99
}

func look(arg string) int {
	var q question
	if err := json.Unmarshal([]byte(arg), &q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	s := sight{Env: os.Environ(), UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Status: status(), Processes: processes()}
	s.Dir, _ = os.Getwd()
	s.Hostname, _ = os.Hostname()
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		s.Interfaces = append(s.Interfaces, i.Name)
	}
	s.Open = map[string]string{}
	for _, fd := range names("/proc/self/fd") {
		s.Open[fd], _ = os.Readlink("/proc/self/fd/" + fd)
	}
	s.Root = names("/")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	s.Mounts = string(mounts)
	passwd, _ := os.ReadFile("/etc/passwd")
	s.Passwd = string(passwd)
	s.Read = tryAll(q.Read, tryRead)
	s.Write = tryAll(q.Write, tryWrite)
	s.Dial = tryAll(q.Dial, func(addr string) error { return tryDial("tcp", addr) })
	s.Unix = tryAll(q.Unix, func(addr string) error { return tryDial("unix", addr) })
	content, _ := json.Marshal(s)
	if err := os.WriteFile("/home/agent/sight.json", content, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	return 0
}

func tryAll(what []string, try func(string) error) map[string]string {
	results := map[string]string{}
	for _, w := range what {
		results[w] = ""
		if err := try(w); err != nil {
			results[w] = err.Error()
		}
	}
	return results
}

func tryRead(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		_, err = os.ReadDir(name)
		return err
	}
	_, err = os.ReadFile(name)
	return err
}

func tryWrite(dir string) error {
	return os.WriteFile(filepath.Join(dir, "written"), []byte("from inside\n"), 0o644)
}

// tryDial connects, says a word and wants it back.
func tryDial(network, addr string) error {
	conn, err := net.DialTimeout(network, addr, 3*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "ping"); err != nil {
		return err
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	if string(buf) != "ping" {
		return fmt.Errorf("echo was %q", buf)
	}
	return nil
}

func status() map[string]string {
	content, _ := os.ReadFile("/proc/self/status")
	fields := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func processes() map[string]string {
	found := map[string]string{}
	for _, name := range names("/proc") {
		if _, err := strconv.Atoi(name); err == nil {
			args, _ := os.ReadFile("/proc/" + name + "/cmdline")
			found[name] = strings.ReplaceAll(string(args), "\x00", " ")
		}
	}
	return found
}

func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

// sleep says that it is up and ends with code 7 on SIGTERM.
func sleep() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("up")
	<-signals
	return 7
}

// hog takes more memory than there is.
func hog() int {
	var taken [][]byte
	for range 1024 {
		chunk := make([]byte, 1<<20)
		for i := 0; i < len(chunk); i += 512 {
			chunk[i] = byte(i)
		}
		taken = append(taken, chunk)
	}
	fmt.Println("hog survived with", len(taken), "MiB")
	return 0
}

// feedHog says how its child, a hog, ended.
func feedHog() int {
	cmd := exec.Command(probePath, probeArg, "hog")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Println("hog:", cmd.Run())
	return 0
}

// fill writes to the memory-backed file system until it is full, and says how
// much it took.
func fill() int {
	total, chunk := 0, make([]byte, 1<<20)
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		f, err := os.Create(dir + "/filler")
		if err != nil {
			continue
		}
		for total < 1<<30 {
			n, err := f.Write(chunk)
			total += n
			if err != nil {
				break
			}
		}
	}
	fmt.Println("filled", total)
	return 0
}
