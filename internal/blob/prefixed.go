package blob

import (
	"context"
	"strings"
)

// Prefixed returns the part of s whose names begin with prefix + "/", as a store
// of its own: names in it are without that. prefix is a valid name; an invalid
// one makes every call fail with ErrName. Names in the part are shorter than
// MaxName by what the prefix takes.
func Prefixed(s Store, prefix string) Store { return prefixed{s, prefix + "/"} }

type prefixed struct {
	Store
	prefix string // ends in "/"
}

func (p prefixed) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	return p.Store.Put(ctx, p.prefix+name, data, ifAbsent)
}

func (p prefixed) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	return p.Store.Get(ctx, p.prefix+name, off, n)
}

func (p prefixed) Stat(ctx context.Context, name string) (Info, error) {
	if err := ValidateName(name); err != nil {
		return Info{}, err
	}
	info, err := p.Store.Stat(ctx, p.prefix+name)
	info.Name = strings.TrimPrefix(info.Name, p.prefix)
	return info, err
}

func (p prefixed) Delete(ctx context.Context, name string) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	return p.Store.Delete(ctx, p.prefix+name)
}

func (p prefixed) List(ctx context.Context, prefix string, f func(Info) error) error {
	return p.Store.List(ctx, p.prefix+prefix, func(info Info) error {
		info.Name = strings.TrimPrefix(info.Name, p.prefix)
		return f(info)
	})
}

func (p prefixed) String() string {
	return p.Store.String() + "/" + strings.TrimSuffix(p.prefix, "/")
}
