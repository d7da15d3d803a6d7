package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/store"
)

// HeadFile is the name of the file, beside the database, that names the log's
// last entry.
const HeadFile = "audit.head"

// Head names an entry and all that are before it. The zero Head is the beginning
// of a log without entries.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"` // 64 lower-case hex digits; "" when Seq is 0
}

// String is SEQ:HASH.
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + h.hash() }

// hash is what the next entry calls the one before.
func (h Head) hash() string {
	if h.Hash == "" {
		return nothing
	}
	return h.Hash
}

// nothing is what the first entry calls the one before.
var nothing = strings.Repeat("0", 64)

// ParseHead reads what String wrote.
func ParseHead(s string) (Head, error) {
	seq, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != seq || !isHash(hash) || n == 0 && hash != nothing {
		return Head{}, fmt.Errorf("%.100q is no SEQ:HASH", s)
	}
	if n == 0 {
		hash = ""
	}
	return Head{n, hash}, nil
}

// maxNoted bounds the heads that one check compares the log with.
const maxNoted = 100

// ParseHeads reads heads that were noted, SEQ:HASH each. Its error is safe to show.
func ParseHeads(texts []string) (heads []Head, err error) {
	if len(texts) > maxNoted {
		return nil, fmt.Errorf("%d heads were given, at most %d can be compared at a time", len(texts), maxNoted)
	}
	for _, text := range texts {
		h, err := ParseHead(text)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return heads, nil
}

func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// headOf names a row.
func headOf(r store.AuditRow) Head {
	if r.Seq == 0 && r.Hash == nil {
		return Head{}
	}
	return Head{r.Seq, hex.EncodeToString(r.Hash)}
}

// errNoHead says that the head file is not there, or is none.
var errNoHead = errors.New("no head file")

func readHead(path string) (Head, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, fmt.Errorf("%w: %s is missing", errNoHead, path)
	}
	if err != nil {
		return Head{}, fmt.Errorf("read the head file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 200))
	if err != nil {
		return Head{}, fmt.Errorf("read the head file: %w", err)
	}
	h, err := ParseHead(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return Head{}, fmt.Errorf("%w: in %s, %v", errNoHead, path, err)
	}
	return h, nil
}

func writeHead(path string, h Head) error {
	return atomicfile.Write(path, []byte(h.String()+"\n"), 0o600)
}
