package usage

import "strings"

// rule says what the value at a path of keys is. Arrays are no part of a path:
// each of their elements is at the path of the array.
type rule struct {
	path  string
	field field
	act   act
}

// isText marks strings that are text the model wrote; nobody keeps them, but
// their length tells about how many tokens they are.
const isText field = 255

// node is a place in documents that something is below of.
type node struct {
	name   string
	kids   []*node
	field  field
	act    act
	text   bool
	base64 bool
}

func (n *node) kid(key []byte) *node {
	for _, k := range n.kids {
		if len(k.name) == len(key) && k.name == string(key) {
			return k
		}
	}
	return nil
}

func treeOf(lists ...[]rule) *node {
	root := &node{}
	for _, list := range lists {
		for _, r := range list {
			n := root
			for _, key := range strings.Split(r.path, ".") {
				n = n.make(key)
			}
			switch {
			case r.field == isText:
				n.text = true
			case r.field != 0:
				n.field = r.field
			}
			if r.act != 0 {
				n.act = r.act
			}
		}
	}
	return root
}

func (n *node) make(key string) *node {
	if k := n.kid([]byte(key)); k != nil {
		return k
	}
	k := &node{name: key}
	n.kids = append(n.kids, k)
	return k
}

// under is rules with a path before theirs.
func under(path string, rules []rule) []rule {
	out := make([]rule, len(rules))
	for i, r := range rules {
		r.path = path + "." + r.path
		out[i] = r
	}
	return out
}

// texts are rules for the strings at paths.
func texts(paths ...string) []rule {
	out := make([]rule, len(paths))
	for i, p := range paths {
		out[i] = rule{path: p, field: isText}
	}
	return out
}

// shellTree is of the document that Bedrock wraps another into.
var shellTree = &node{kids: []*node{{name: "bytes", base64: true}}}
