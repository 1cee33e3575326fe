package gateway

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keeptrusts/kt/stream/dialect/openai"
)

// script is a body that gives one string after each pause, then err.
type script struct {
	parts []string
	pause time.Duration
	err   error
}

func (s *script) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	if len(s.parts) == 0 {
		return 0, s.err
	}
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}

func (s *script) Close() error { return nil }

func TestHoldKeepsTheBeginningForItsTime(t *testing.T) {
	cut := errors.New("cut")
	const (
		word  = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n"
		stop  = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
		done  = "data: [DONE]\n\n"
		bad   = "data: {nope\n\n"
		fault = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"
	)
	for name, c := range map[string]struct {
		body *script
		hold time.Duration
		want string
		err  error
		at   time.Duration // of the first byte, or of the error
	}{
		"fails in time: nothing of it counts":    {&script{parts: []string{"a", "b"}, pause: 10 * time.Millisecond, err: cut}, 100 * time.Millisecond, "", cut, 30 * time.Millisecond},
		"fails later: what came is there":        {&script{parts: []string{"a", "b"}, pause: 60 * time.Millisecond, err: cut}, 100 * time.Millisecond, "ab", cut, 100 * time.Millisecond},
		"ends in time: all of it, at once":       {&script{parts: []string{word, done}, pause: 10 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, word + done, nil, 30 * time.Millisecond},
		"ends in time, all choices finished":     {&script{parts: []string{word, stop}, pause: 10 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, word + stop, nil, 30 * time.Millisecond},
		"ends in time without its end":           {&script{parts: []string{word, word}, pause: 10 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, "", nil, 30 * time.Millisecond},
		"an error event in time":                 {&script{parts: []string{word, word + fault, word}, pause: 10 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, fault, nil, 20 * time.Millisecond},
		"an event in time that is not valid":     {&script{parts: []string{word, word + bad[:7], bad[7:]}, pause: 10 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, bad, nil, 30 * time.Millisecond},
		"an error event later":                   {&script{parts: []string{word, fault}, pause: 60 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, word + fault, nil, 100 * time.Millisecond},
		"silent at the end of the time: lets go": {&script{parts: []string{"a"}, pause: 90 * time.Millisecond, err: io.EOF}, 100 * time.Millisecond, "a", nil, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				h := newHold(c.body, c.hold, openai.New())
				var got []byte
				var first time.Duration
				p := make([]byte, 1)
				var err error
				for err == nil {
					var n int
					n, err = h.Read(p)
					if first == 0 {
						first = time.Since(began)
					}
					got = append(got, p[:n]...)
				}
				h.end()
				if errors.Is(err, io.EOF) {
					err = nil
				}
				if string(got) != c.want || !errors.Is(err, c.err) || first != c.at {
					t.Errorf("got %q, %v at %v; want %q, %v at %v", got, err, first, c.want, c.err, c.at)
				}
			})
		})
	}
}
