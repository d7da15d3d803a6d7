package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"

	"github.com/hashicorp/go-envparse"
	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/secret"
)

const (
	maxFile = 1 << 20
	maxLine = 64<<10 - 1 // what the line parser takes
)

// layer is what one source sets, by name.
type layer map[string]setting

// readDevVars reads the file in the data directory, which need not be there.
func readDevVars(c *Config, p *Problems) layer {
	path := filepath.Join(c.Data, devVars)
	// Without O_NONBLOCK, opening a pipe there would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		p.add("", path, fmt.Errorf("the file cannot be opened (%w): make it readable for this user, or remove it", bare(err)))
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		p.add("", path, errors.New("this is not a regular file: put a file of NAME=value lines there, or remove it"))
		return nil
	}
	return readFile(f, path, c, p)
}

// readConfigFile reads the file named by --config, which may be a pipe.
func readConfigFile(path string, c *Config, p *Problems) layer {
	f, err := os.Open(path)
	if err != nil {
		p.add("--config", path, fmt.Errorf("the file cannot be opened (%w): name a file that this user may read", bare(err)))
		return nil
	}
	defer f.Close()
	return readFile(f, path, c, p)
}

// readFile reads settings and tells when others may read secrets among them.
func readFile(f *os.File, path string, c *Config, p *Problems) layer {
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		p.add("", path, fmt.Errorf("the file cannot be read (%w): name a file of NAME=value lines", bare(err)))
		return nil
	}
	found := parse(data, path, p)
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&0o004 == 0 {
		return found
	}
	for name := range found {
		if k := lookup(name); k != nil && k.Secret {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds secrets and every user of this machine may read it: run chmod 600 %s", path, path))
			break
		}
	}
	return found
}

// parse reads NAME=value lines: blank lines and comments, an "export" before the
// name, values bare or in single or double quotes, Unix or Windows line ends.
func parse(data []byte, path string, p *Problems) layer {
	found := layer{}
	if len(data) > maxFile {
		p.add("", path, fmt.Errorf("the file has more than %d bytes: name a file of NAME=value lines", maxFile))
		return found
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	number := 0
	for line := range bytes.Lines(data) {
		number++
		where := fmt.Sprintf("%s:%d", path, number)
		name, value, err := parseLine(line)
		if err != nil {
			p.add("", where, err)
			continue
		}
		if name == "" {
			continue
		}
		if lookup(name) == nil {
			p.unknown(name, where)
			continue
		}
		if before, twice := found[name]; twice {
			p.add(name, where, fmt.Errorf("it is set already at %s: remove one of the two", before.origin))
			continue
		}
		found[name] = setting{secret.NewValue(value), where}
	}
	return found
}

// parseLine gives "" for a line without a setting. Its errors quote at most one
// character of the line, which may be a secret.
func parseLine(line []byte) (name, value string, err error) {
	if len(line) > maxLine {
		return "", "", fmt.Errorf("the line has more than %d bytes: shorten it", maxLine)
	}
	if !utf8.Valid(line) {
		return "", "", errors.New("the line is not UTF-8 text: save the file as UTF-8")
	}
	if hashInWord(line) {
		return "", "", errors.New("a # within the value would begin a comment: put the value in quotes, or a space before the #")
	}
	// One line at a time, because the parser forgets where a name was set.
	found, err := envparse.Parse(bytes.NewReader(line))
	switch {
	case errors.Is(reason(err), envparse.ErrMissingSeparator):
		return "", "", errors.New("the line has no =: write NAME=value")
	case errors.Is(reason(err), envparse.ErrUnmatchedDouble), errors.Is(reason(err), envparse.ErrUnmatchedSingle):
		return "", "", errors.New(`a quote is not closed on this line: close it, and write line breaks as \n within double quotes`)
	case err != nil:
		return "", "", fmt.Errorf("the line cannot be read (%w): write NAME=value, or NAME='value' when the value has special characters", reason(err))
	}
	for name, value := range found {
		return name, value, nil
	}
	return "", "", nil
}

// hashInWord finds a # that would cut a bare value short, as in KEY=abc#def.
func hashInWord(line []byte) bool {
	line = bytes.TrimSpace(line)
	_, value, ok := bytes.Cut(line, []byte("="))
	if !ok || bytes.HasPrefix(line, []byte("#")) {
		return false
	}
	var quote, before byte = 0, '='
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#':
			return before != ' ' && before != '\t'
		}
		before = value[min(i, len(value)-1)]
	}
	return false
}

// reason takes the line number, always 1, out of the parser's error.
func reason(err error) error {
	var pe *envparse.ParseError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// bare takes the path out of an error whose sentence has it already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
