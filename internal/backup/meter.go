package backup

import (
	"context"
	"sync/atomic"

	"github.com/moltworker/moltworker/internal/blob"
)

// meter counts what is read from a store, in bytes.
type meter struct {
	blob.Store
	read atomic.Int64
}

func (m *meter) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	data, err := m.Store.Get(ctx, name, off, n)
	m.read.Add(int64(len(data)))
	return data, err
}
