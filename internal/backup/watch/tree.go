package watch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errMoved: a directory is no longer where it was a moment ago. Events or the next
// look tell where it is.
var errMoved = errors.New("a directory was moved meanwhile")

// tree is what is known of the directories that are watched: where each of them
// was when its events were last followed.
type tree struct {
	in     *inotify
	max    int
	parent int32  // the watch of the root's parent; -1 is none
	base   string // the root's name in it
	root   *node  // nil until the root was found
	inode  uint64 // of the root
	byWD   map[int32]*node
	round  uint64 // counts looks
}

// node is one watched directory.
type node struct {
	up       *node // nil is the root
	name     string
	wd       int32
	children map[string]*node
	round    uint64 // the last look that saw it
	dropped  bool
}

func newTree(in *inotify, most int) *tree {
	return &tree{in: in, max: most, parent: -1, byWD: map[int32]*node{}}
}

// watchParent watches the directory that the root is in, so that a root that comes
// or is replaced is noticed at once. Where that fails, looks notice it.
func (t *tree) watchParent(dir, base string) {
	if wd, err := unix.InotifyAddWatch(t.in.fd, dir, parentMask); err == nil {
		t.parent, t.base = int32(wd), base
	}
}

// path is where a directory is, relative to the root; "" is the root itself.
func (n *node) path() string { return strings.Join(n.names(), "/") }

func (n *node) names() []string {
	var names []string
	for ; n.up != nil; n = n.up {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return names
}

// join appends a name to a path of the tree.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}

// watch watches the directory that is open as dir and was found under name in up.
// The root has no up. It returns errMoved when up itself is not in the tree any more.
func (t *tree) watch(up *node, name string, dir int) (*node, error) {
	if up != nil && up.dropped {
		return nil, errMoved
	}
	mask := uint32(rootMask)
	had := t.root
	if up != nil {
		mask, had = changeMask, up.children[name]
	}
	if had == nil && len(t.byWD) >= t.max {
		return nil, fmt.Errorf("there are more than %d directories", t.max)
	}
	wd, err := t.in.add(dir, mask)
	if err != nil {
		return nil, err
	}
	if had != nil && had.wd == wd {
		had.round = t.round
		return had, nil
	}
	if had != nil {
		t.drop(had)
	}
	if elsewhere := t.byWD[wd]; elsewhere != nil {
		// It was moved here, and the event is still on its way. What is known of the
		// old place goes, and with it the watch.
		t.drop(elsewhere)
		if up != nil && up.dropped {
			return nil, errMoved
		}
		if wd, err = t.in.add(dir, mask); err != nil {
			return nil, err
		}
	}
	n := &node{up: up, name: name, wd: wd, round: t.round}
	t.byWD[wd] = n
	if up == nil {
		t.root = n
		return n, nil
	}
	if up.children == nil {
		up.children = map[string]*node{}
	}
	up.children[name] = n
	return n, nil
}

// drop ends the watches of a directory and of all below it.
func (t *tree) drop(n *node) {
	if n.up == nil {
		t.root = nil
	} else {
		delete(n.up.children, n.name)
	}
	t.forget(n)
}

func (t *tree) forget(n *node) {
	n.dropped = true
	delete(t.byWD, n.wd)
	t.in.remove(n.wd)
	for _, c := range n.children {
		t.forget(c)
	}
}

// sweep drops what the look that just ended has not seen.
func (t *tree) sweep() {
	for _, n := range t.byWD {
		if n.round != t.round && !n.dropped {
			t.drop(n)
		}
	}
}

// place is a directory that is not watched yet.
type place struct {
	in   *node
	name string
}

// verdict is what events come to.
type verdict struct {
	changed bool
	lost    bool               // some events were, and the tree may be another
	gone    bool               // the root is not what it was
	fresh   map[place]struct{} // to be watched
}

// take follows events in the order in which they happened.
func (t *tree) take(batch []byte, leave func(string, bool) bool) verdict {
	v := verdict{fresh: map[place]struct{}{}}
	for ev := range events(batch) {
		switch n := t.byWD[ev.wd]; {
		case ev.mask&unix.IN_Q_OVERFLOW != 0:
			v.lost = true
		case ev.wd == t.parent:
			v.gone = v.gone || ev.name == t.base
		case n == nil: // not watched any more; what dropped it has seen to the rest
		case n == t.root && ev.mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
			v.gone = true
		case ev.mask&(unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
			t.drop(n)
		default:
			t.happened(n, ev, leave, &v)
		}
	}
	return v
}

// happened follows an event in a watched directory.
func (t *tree) happened(n *node, ev event, leave func(string, bool) bool, v *verdict) {
	dir := ev.mask&unix.IN_ISDIR != 0
	if ev.name == "" {
		// The directory's own attributes. Its parent tells of them too, but for the root.
		v.changed = v.changed || n == t.root
		return
	}
	path := join(n.path(), ev.name)
	if len(path) > maxPath || leave(path, dir) {
		return
	}
	v.changed = true
	if !dir {
		return
	}
	child := n.children[ev.name]
	gone := ev.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0
	if gone && child != nil {
		t.drop(child)
	}
	// Something may be there again even after the last event says that it went away:
	// of two that are exchanged, the second one to move comes last. A directory whose
	// attributes have changed may be readable now.
	if gone || child == nil || ev.mask&unix.IN_ATTRIB == 0 {
		v.fresh[place{n, ev.name}] = struct{}{}
	}
}
