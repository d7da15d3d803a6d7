package backup

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The first byte of what is pressed says how the rest is written.
const (
	pressedRaw  = 0
	pressedZstd = 1
)

// maxWindow bounds what a compressed piece may make the decoder keep, in bytes.
const maxWindow = 8 << 20

var (
	errPress = errors.New("it is not compressed as it should be")

	// Both may be used from any goroutine.
	encoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true)))
	decoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true)))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants
	}
	return v
}

// press appends raw to dst, compressed when that is smaller.
func press(dst, raw []byte) []byte {
	n := len(dst)
	dst = append(dst, pressedZstd)
	dst = encoder.EncodeAll(raw, dst)
	if len(dst)-n-1 < len(raw) {
		return dst
	}
	return append(append(dst[:n], pressedRaw), raw...)
}

// unpress undoes press. It returns at most limit bytes, and allocates hardly more.
func unpress(pressed []byte, limit int) ([]byte, error) {
	if len(pressed) == 0 {
		return nil, errPress
	}
	how, rest := pressed[0], pressed[1:]
	switch {
	case how == pressedRaw && len(rest) <= limit:
		return rest, nil
	case how != pressedZstd:
		return nil, errPress
	}
	var head zstd.Header
	if err := head.Decode(rest); err != nil {
		return nil, fmt.Errorf("%w: %w", errPress, err)
	}
	room := limit
	if head.HasFCS {
		if head.FrameContentSize > uint64(limit) {
			return nil, fmt.Errorf("%w: it says that it is longer than it may be", errPress)
		}
		room = int(head.FrameContentSize)
	}
	raw, err := decoder.DecodeAll(rest, make([]byte, 0, room))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPress, err)
	}
	return raw, nil
}
