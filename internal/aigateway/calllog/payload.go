package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxPayload is how many bytes of each side of a call are kept.
const maxPayload = 1 << 20

// payloadsSuffix is put after the path of the record for the file of payloads.
const payloadsSuffix = "-payloads"

// forgetPayloads deletes the file of payloads, for who wants none kept any more.
func forgetPayloads(path string) error {
	var errs []error
	for _, more := range []string{"", "-wal", "-shm"} { // SQLite's own beside it
		if err := os.Remove(path + payloadsSuffix + more); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete what was said in calls: %w", err)
	}
	return nil
}

// squeeze compresses payloads; made when the first comes.
type squeeze struct{ enc *zstd.Encoder }

func (s *squeeze) pack(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return []byte{}, nil
	}
	if s.enc == nil {
		var err error
		s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(maxPayload), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
	}
	return s.enc.EncodeAll(b, nil), nil
}

// unpack bounds what a damaged file may take.
func unpack(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPayload), zstd.WithDecoderMaxWindow(maxPayload))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(b, nil)
}

// putPayloads keeps the payloads of calls that were just written. It tries once: they
// are large, and calls wait behind them.
func (l *Log) putPayloads(ctx context.Context, calls []Call) error {
	with := 0
	for i := range calls {
		if calls[i].Payload != nil {
			with++
		}
	}
	if with == 0 {
		return nil
	}
	err := l.payloads.change(ctx, func(tx *sql.Tx) error {
		for i := range calls {
			if err := l.putPayload(ctx, tx, &calls[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.droppedPayload.Add(int64(with))
		return fmt.Errorf("keep payloads: %w", err)
	}
	return l.letGoPayloads(ctx)
}

func (l *Log) putPayload(ctx context.Context, tx *sql.Tx, c *Call) error {
	p := c.Payload
	if p == nil {
		return nil
	}
	request, err := l.writer.squeeze.pack(p.Request)
	if err != nil {
		return err
	}
	response, err := l.writer.squeeze.pack(p.Response)
	if err != nil {
		return err
	}
	bits := 0
	if p.RequestCut {
		bits |= 1
	}
	if p.ResponseCut {
		bits |= 2
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO payloads VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", c.ID.key(), request, response, bits)
	return err
}

// letGoPayloads deletes the oldest payloads that exceed what is kept.
func (l *Log) letGoPayloads(ctx context.Context) error {
	if l.payloads == nil {
		return nil
	}
	old := keyAt(l.opts.Now().Add(-l.opts.PayloadAge))
	_, err := l.payloads.write.ExecContext(ctx, "DELETE FROM payloads WHERE id IN (SELECT id FROM payloads WHERE id < ? ORDER BY id LIMIT ?)", old, letGoLeast)
	for range letGoSteps {
		var all, unused, size, n int64
		if err == nil {
			all, unused, size, err = l.payloads.pages(ctx)
		}
		if err != nil || (all-unused)*size <= l.opts.MaxPayloadBytes {
			break
		}
		var result sql.Result
		result, err = l.payloads.write.ExecContext(ctx, "DELETE FROM payloads WHERE id IN (SELECT id FROM payloads ORDER BY id LIMIT 64)")
		if err == nil {
			n, err = result.RowsAffected()
		}
		if n == 0 {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("let go of old payloads: %w", err)
	}
	return nil
}

// Payload returns what was said in a call; ErrNotFound when it is not kept.
func (l *Log) Payload(ctx context.Context, id ID) (Payload, error) {
	if _, err := l.Get(ctx, id); err != nil {
		return Payload{}, err
	}
	if l.payloads == nil {
		return Payload{}, fmt.Errorf("payload of %s: %w", id, ErrNotFound)
	}
	var request, response []byte
	var bits int
	err := l.payloads.read.QueryRowContext(ctx, "SELECT request, response, cut FROM payloads WHERE id = ?", id.key()).Scan(&request, &response, &bits)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	p := Payload{RequestCut: bits&1 != 0, ResponseCut: bits&2 != 0}
	if err == nil {
		p.Request, err = unpack(request)
	}
	if err == nil {
		p.Response, err = unpack(response)
	}
	if err != nil {
		return Payload{}, fmt.Errorf("payload of %s: %w", id, err)
	}
	return p, nil
}
