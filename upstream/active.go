package upstream

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// watch asks all targets for a sign of life, again and again, until ctx ends.
func (p *Pool) watch(ctx context.Context) {
	h := &p.opt.Health
	for {
		var wg sync.WaitGroup
		for _, s := range p.targets {
			wg.Go(func() { p.check(ctx, s) })
		}
		wg.Wait()
		t := time.NewTimer(h.Interval + time.Duration(p.random()*0.2*float64(h.Interval)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// check asks one target once.
func (p *Pool) check(ctx context.Context, s *state) {
	h := &p.opt.Health
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	r := Request{Method: http.MethodGet, Path: "/v1/models", Model: s.Model}
	if h.Complete {
		body := `{"model":` + quote(s.Model) + `,"messages":[{"role":"user","content":"ping"}],"max_tokens":1}`
		r = Request{Path: "/v1/chat/completions", Model: s.Model, Body: []byte(body)}
	}
	resp, err := p.opt.Transport.Do(ctx, s.Target, r)
	class := ClassOf(err)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
		_ = resp.Body.Close()
		switch {
		case err != nil:
			class = ClassOf(err)
		case resp.Status == 401 || resp.Status == 403:
			class = Auth
		case resp.Status == 429:
			class = OK // alive; its limits are another matter
		case resp.Status >= 500:
			class = ServerError
		default:
			class = OK // 404: no such list, but something answers
		}
	} else if ctx.Err() != nil && class == Cancelled {
		class = TimeoutFirstByte
	}
	s.mu.Lock()
	s.lastCheck, s.checked = class, time.Now()
	was := s.down
	if class == OK {
		s.badChecks = 0
		if s.goodChecks++; s.goodChecks >= h.Healthy {
			s.down = false
		}
	} else {
		s.goodChecks = 0
		if s.badChecks++; s.badChecks >= h.Unhealthy {
			s.down = true
		}
	}
	is := s.down
	s.mu.Unlock()
	if was != is {
		p.tellOut(s)
	}
}
