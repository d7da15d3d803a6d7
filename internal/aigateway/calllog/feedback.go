package calllog

import (
	"context"
	"fmt"
	"strings"
	"unicode"
)

// Feedback is what somebody thought of an answer.
type Feedback struct {
	Vote    int    // -1 bad, 0 none, 1 good
	Score   *int   // 0 to 100; nil none
	Comment string // at most 2000 bytes are kept
}

// Feedback keeps what somebody thought of a call's answer, in place of what was kept
// before.
func (l *Log) Feedback(ctx context.Context, id ID, f Feedback) error {
	if f.Vote < -1 || f.Vote > 1 || f.Score != nil && (*f.Score < 0 || *f.Score > 100) {
		return fmt.Errorf("%w: a vote is -1, 0 or 1, and a score from 0 to 100", ErrFilter)
	}
	comment := cut(strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, cut(f.Comment, maxComment)), maxComment)
	put := func() (int64, error) {
		result, err := l.calls.write.ExecContext(ctx, "INSERT OR REPLACE INTO feedback SELECT id, ?, ?, ? FROM calls WHERE id = ? AND secret = ?",
			f.Vote, f.Score, comment, id.key(), id.secret())
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	}
	n, err := put()
	if err == nil && n == 0 && l.catchUp(ctx) {
		n, err = put()
	}
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("feedback on call %s: %w", id, err)
	}
	l.announce()
	return nil
}
