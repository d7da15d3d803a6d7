package gvisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// imageVersion changes when a sandbox is set up in another way (gVisor's flags,
// the root, the fixed mounts) or contentsFile gets another form.
const imageVersion = 1

// The files of an image: gVisor's own, in the order in which it takes them, and
// contentsFile, which is written last.
var imageFiles = []string{checkpointfiles.StateFileName, checkpointfiles.PagesMetadataFileName, checkpointfiles.PagesFileName}

// contentsFile is the file that says what an image consists of.
const contentsFile = "image.json"

const (
	maxContents = 64 << 10 // bytes of contentsFile
	// maxSummed is the size up to which a file's sum is taken: all but the
	// pages, which are left to whoever keeps the image.
	maxSummed = 64 << 20
)

// contents is what is in contentsFile. gVisor itself has no sum over anything.
type contents struct {
	// Scratch is the Limits.Scratch that the sandbox was started with; the
	// image's file systems keep it.
	Scratch int64
	Files   map[string]imageFile
}

type imageFile struct {
	Size   int64
	SHA256 string `json:",omitempty"` // of a small file
}

// ImageFormat names what an image depends on; see [sandbox.Imager]. Processes
// inside have programs and libraries of the host's mapped, and run wild when
// those change under them, so the host's are part of it.
func (d *Driver) ImageFormat() string {
	cpuid.Initialize()
	features := cpuid.HostFeatureSet()
	size, _ := features.ExtendedStateSize()
	cpu := sha256.Sum256([]byte(features.FlagString() + " " + strconv.Itoa(int(size))))
	format := fmt.Sprintf("gvisor-%d %s %s cpu-%s host-%s", imageVersion, Version(), runtime.GOARCH, hex.EncodeToString(cpu[:8]), hostPrograms("/"))
	if d.user.rootless {
		format += " rootless"
	}
	return format
}

// hostPrograms is a sum that changes when programs or libraries are installed,
// replaced or removed below root: that writes to their directory.
func hostPrograms(root string) string {
	dirs := []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/lib32", "bin", "sbin", "lib", "lib64"}
	for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // sorted
		for _, name := range found {
			rel, _ := filepath.Rel(root, name)
			dirs = append(dirs, rel)
		}
	}
	sum := sha256.New()
	for _, name := range dirs {
		if info, err := os.Stat(filepath.Join(root, name)); err == nil {
			fmt.Fprintf(sum, "%s %d\n", name, info.ModTime().UnixNano())
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// writeImage has the sandbox's kernel write its image into the empty directory
// dir. When it fails, dir is empty again.
func (s *Sandbox) writeImage(dir string) error {
	target, err := openImageDir(dir)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := target.empty(); err != nil {
		return err
	}
	scratch, err := s.d.place(s.id).scratch()
	if err != nil {
		return err
	}
	if err = target.fill(s.save, scratch); err != nil {
		target.clear()
	}
	return err
}

// save has gVisor write itself into files, in the order of imageFiles. With
// Resume it stays alive, whether that works or not.
func (s *Sandbox) save(files []*os.File) error {
	opts := control.SaveOpts{
		Metadata:      statefile.CompressionLevelNone.ToMetadata(),
		HavePagesFile: true,
		Resume:        true,
	}
	opts.FilePayload.Files = files
	if err := s.call(boot.ContMgrCheckpoint, &opts); err != nil {
		return fmt.Errorf("gVisor: %w", err)
	}
	return nil
}

// An imageDir is the open directory of an image.
type imageDir struct {
	*os.File
	path string
}

func openImageDir(path string) (imageDir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return imageDir{}, &fs.PathError{Op: "open image directory", Path: path, Err: err}
	}
	return imageDir{os.NewFile(uintptr(fd), path), path}, nil
}

// open opens a file of the image itself, not what a link in its place points to.
func (d imageDir) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(d.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.path, name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// empty says whether the directory is fit to hold a new image.
func (d imageDir) empty() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return fmt.Errorf("look at %s: %w", d.path, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: others may write to it; an image's directory must be this user's alone", d.path)
	}
	if names, err := d.Readdirnames(1); err != io.EOF {
		return fmt.Errorf("%s: an image's directory must be empty (found %q, %v)", d.path, names, err)
	}
	return nil
}

// fill makes the image's files and has save write them.
func (d imageDir) fill(save func([]*os.File) error, scratch int64) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, name := range imageFiles {
		f, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if err := save(files); err != nil {
		return err
	}
	c := contents{Scratch: scratch, Files: map[string]imageFile{}}
	for i, f := range files {
		described, err := describe(f)
		if err != nil {
			return err
		}
		c.Files[imageFiles[i]] = described
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := d.open(contentsFile, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(encoded); err != nil {
		return err
	}
	return f.Close()
}

// clear removes what fill may have made.
func (d imageDir) clear() {
	for _, name := range append([]string{contentsFile}, imageFiles...) {
		unix.Unlinkat(int(d.Fd()), name, 0)
	}
}

func describe(f *os.File) (imageFile, error) {
	info, err := f.Stat()
	if err != nil {
		return imageFile{}, err
	}
	if !info.Mode().IsRegular() {
		return imageFile{}, fmt.Errorf("%s: not a regular file", f.Name())
	}
	described := imageFile{Size: info.Size()}
	if described.Size > maxSummed || filepath.Base(f.Name()) == checkpointfiles.PagesFileName {
		return described, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, described.Size)); err != nil {
		return imageFile{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	described.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return described, nil
}

// readImage says what is in the image in dir, after a look at whether it is all
// there: gVisor would notice pages that are missing only when the sandbox runs
// already, and kill it. The error wraps [sandbox.ErrImage].
func readImage(dir string) (contents, error) {
	c, err := readContents(dir)
	if err != nil {
		return contents{}, fmt.Errorf("%w: %w", sandbox.ErrImage, err)
	}
	return c, nil
}

func readContents(path string) (contents, error) {
	var c contents
	d, err := openImageDir(path)
	if err != nil {
		return c, err
	}
	defer d.Close()
	f, err := d.open(contentsFile, unix.O_RDONLY)
	if err != nil {
		return c, err
	}
	defer f.Close()
	encoded, err := io.ReadAll(io.LimitReader(f, maxContents))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(encoded, &c); err != nil {
		return c, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for _, name := range imageFiles {
		want, ok := c.Files[name]
		if !ok {
			return c, fmt.Errorf("%s does not list %s", f.Name(), name)
		}
		if err := d.check(name, want); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (d imageDir) check(name string, want imageFile) error {
	f, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() != want.Size {
		err = fmt.Errorf("%s: has %d bytes, was written with %d", f.Name(), info.Size(), want.Size)
	}
	if err != nil {
		return err
	}
	got, err := describe(f)
	if err == nil && got != want {
		err = fmt.Errorf("%s: altered since it was written", f.Name())
	}
	return err
}

// scratchNote is the OCI annotation that remembers Limits.Scratch.
const scratchNote = "moltworker.scratch"

// scratch is the Limits.Scratch that the sandbox in p was started with.
func (p place) scratch() (int64, error) {
	content, err := os.ReadFile(p.spec())
	if err != nil {
		return 0, err
	}
	var spec struct{ Annotations map[string]string }
	if err := json.Unmarshal(content, &spec); err != nil {
		return 0, fmt.Errorf("read the sandbox's specification: %w", err)
	}
	return strconv.ParseInt(spec.Annotations[scratchNote], 10, 64)
}

// image is the directory that gVisor is given to restore from: links to an
// image's files and nothing else, because gVisor takes some other file names
// for orders.
func (p place) image() string { return filepath.Join(p.dir, "image") }

// link shows the image in dir at p.image.
func (p place) link(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(p.image(), 0o700); err != nil {
		return fmt.Errorf("show the image to gVisor: %w", err)
	}
	for _, name := range imageFiles {
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(p.image(), name)); err != nil {
			return fmt.Errorf("show the image to gVisor: %w", err)
		}
	}
	return nil
}
