package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
)

// TestEveryFaultBeforeTheFirstContentFallsBack plays T32, T33, T37, T38 and T39
// at a first target and wants the second one's answer, with the fault's class.
func TestEveryFaultBeforeTheFirstContentFallsBack(t *testing.T) {
	type faultCase struct {
		o         mock.Options
		want      string // class of a call with a stream
		wantWhole string // class of a call without; empty: the same
	}
	status := func(n int) mock.Options { return mock.Options{Fault: mock.Status, Status: n} }
	cases := map[string]faultCase{
		"close":          {o: mock.Options{Fault: mock.CloseEarly}, want: "reset"},
		"rst":            {o: mock.Options{Fault: mock.RST}, want: "reset"},
		"garbage":        {o: mock.Options{Fault: mock.GarbageStatus}, want: "bad_response"},
		"http09":         {o: mock.Options{Fault: mock.HTTP09}, want: "bad_response"},
		"stall status":   {o: mock.Options{Fault: mock.StallStatus}, want: "timeout_first_byte"},
		"stall headers":  {o: mock.Options{Fault: mock.StallHeaders}, want: "timeout_first_byte"},
		"drip status":    {o: mock.Options{Fault: mock.DripStatus, Delay: mock.Duration(20 * time.Millisecond)}, want: "timeout_first_byte"},
		"huge header":    {o: mock.Options{Fault: mock.HugeHeader}, want: "too_large"},
		"many headers":   {o: mock.Options{Fault: mock.ManyHeaders}, want: "too_large"},
		"1xx flood":      {o: mock.Options{Fault: mock.Flood1xx}, want: "too_large"},
		"500":            {o: status(500), want: "server_error"},
		"502 html":       {o: mock.Options{Fault: mock.StatusHTML, Status: 502}, want: "server_error"},
		"503":            {o: status(503), want: "overloaded"},
		"529":            {o: status(529), want: "overloaded"},
		"401":            {o: status(401), want: "auth"},
		"403":            {o: status(403), want: "auth"},
		"404":            {o: status(404), want: "not_found"},
		"408":            {o: status(408), want: "request_timeout"},
		"429":            {o: status(429), want: "rate_limit"},
		"json error":     {o: mock.Options{Fault: mock.JSONError}, want: "server_error"},
		"json 429 error": {o: mock.Options{Fault: mock.JSONError, Code: "rate_limit_exceeded"}, want: "rate_limit"},
		"redirect":       {o: mock.Options{Fault: mock.Redirect, Location: "http://127.0.0.1:1/"}, want: "redirect"},
		"gzip":           {o: mock.Options{Fault: mock.Gzip}, want: "encoded"},
		"html":           {o: mock.Options{Fault: mock.HTML}, want: "bad_content_type"},
		"no type":        {o: mock.Options{Fault: mock.NoType}, want: "bad_content_type"},
		"other form":     {o: mock.Options{Fault: mock.OtherForm}, want: "bad_content_type"},
		"stall first":    {o: mock.Options{Fault: mock.StallFirst}, want: "timeout_between_bytes", wantWhole: "timeout_first_byte timeout_between_bytes"},
		"first error":    {o: mock.Options{Fault: mock.FirstError, Code: "odd"}, want: "first_event_error", wantWhole: "server_error"},
		"overloaded":     {o: mock.Options{Fault: mock.FirstError, Code: "overloaded_error"}, want: "overloaded"},
		"role then cut":  {o: mock.Options{Fault: mock.RoleThenCut}, want: "reset"},
		"first bad json": {o: mock.Options{Fault: mock.FirstBadJSON}, want: "bad_event"},
		"huge event":     {o: mock.Options{Fault: mock.HugeEvent}, want: "too_large", wantWhole: "ok"},
		"two lengths":    {o: mock.Options{Fault: mock.TwoLengths}, want: "bad_response"},
		"length and te":  {o: mock.Options{Fault: mock.LengthAndTE}, want: "bad_response"},
		"short length":   {o: mock.Options{Fault: mock.ShortLength}, want: "bad_content_type reset", wantWhole: "reset"},
	}
	good := startMock(t, mock.Options{Text: "the good answer"})
	for name, c := range cases {
		for _, stream := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "/stream", false: "/whole"}[stream], func(t *testing.T) {
				t.Parallel()
				bad := startMock(t, c.o)
				ta, tb := target(t, "a", bad.URL, "key-a"), target(t, "b", good.URL, "key-b")
				if strings.Contains(c.want, "timeout") {
					ta.Timeouts = fast
				}
				p := newPool(t, upstream.Options{}, ta, tb)
				a, err := p.Do(background(t), call("model-a", "hello", stream))
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				want := c.want
				if !stream && c.wantWhole != "" {
					want = c.wantWhole
				}
				got := a.Attempts[0].Class.String()
				if !strings.Contains(" "+want+" ", " "+got+" ") {
					t.Fatalf("class %q (%v), want %q", got, a.Attempts[0].Err, want)
				}
				if want == "ok" {
					return
				}
				text, err := answerText(a)
				if err != nil || text != "the good answer" || a.Target.ID != "b" {
					t.Fatalf("answer %q of %s, %v", text, a.Target.ID, err)
				}
				for _, r := range good.Records() {
					if r.KeyHash != mock.KeyHash("key-b") {
						t.Fatal("the second target did not get its own key")
					}
				}
			})
		}
	}
}

func TestRefusedAndResetAtAcceptFallBack(t *testing.T) {
	good := startMock(t, mock.Options{Text: "good"})
	dead := startMock(t, mock.Options{})
	rst := startMock(t, mock.Options{})
	rst.SetAccept(mock.RSTAccept)
	mute := startMock(t, mock.Options{})
	mute.SetAccept(mock.StallAccept)
	dead.Refuse() // last: another server here would be given the port that it frees
	tm := target(t, "mute", mute.URL, "")
	tm.Timeouts = upstream.Timeouts{Connect: 100 * time.Millisecond, FirstByte: 100 * time.Millisecond}
	p := newPool(t, upstream.Options{Fallback: upstream.Fallback{MaxAttempts: 4}},
		target(t, "dead", dead.URL, ""), target(t, "rst", rst.URL, ""), tm, target(t, "good", good.URL, ""))
	a, err := p.Do(background(t), call("model-dead", "x", true))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := classes(a.Attempts); got != "dead:connect rst:reset mute:timeout_first_byte good:ok" {
		t.Fatal(got)
	}
}

func TestClientFaultsAreRelayedAndAskNoOtherTarget(t *testing.T) {
	for _, status := range []int{400, 413, 422} {
		bad := startMock(t, mock.Options{Fault: mock.Status, Status: status, Code: "invalid_value", Message: "n is too large"})
		other := startMock(t, mock.Options{})
		p := newPool(t, upstream.Options{}, target(t, "a", bad.URL, ""), target(t, "b", other.URL, ""))
		for range 8 { // more often than the breaker would stand
			a, err := p.Do(background(t), call("model-a", "x", true))
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != status || a.Stream || !strings.Contains(string(a.Whole), "n is too large") {
				t.Fatalf("status %d, body %s", a.Status, a.Whole)
			}
			a.Close()
		}
		if n := other.Count(); n != 0 {
			t.Fatalf("status %d: the other target was asked %d times", status, n)
		}
		if s := p.Snapshot().Targets[0]; s.Breaker != "closed" || s.Failures != 0 {
			t.Fatalf("a client's fault counted: %+v", s)
		}
	}
}

// A proxy before the provider answers with a page of its own: the status counts, the page does not go on.
func TestClientFaultsWithoutAReadableBodyAreTheClientsToo(t *testing.T) {
	head := func(status int, rest string) string {
		return fmt.Sprintf("HTTP/1.1 %d %s\r\nConnection: close\r\n%s", status, http.StatusText(status), rest)
	}
	for name, answer := range map[string]string{
		"page":      "Content-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
		"no type":   "Content-Length: 0\r\n\r\n",
		"no body":   "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n",
		"bad JSON":  "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"error\":",
		"cut JSON":  "Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{\"error\":",
		"too large": "Content-Type: application/json\r\n\r\n{\"error\":\"" + strings.Repeat("x", 300<<10) + "\"}",
	} {
		for _, status := range []int{400, 413, 422} {
			for _, stream := range []bool{true, false} {
				bad := serveScript(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
					if _, err := take(br); err == nil {
						_, _ = io.WriteString(c, head(status, answer))
					}
					_ = c.Close()
				})
				other := startMock(t, mock.Options{})
				p := newPool(t, upstream.Options{}, target(t, "a", bad.url(), ""), target(t, "b", other.URL, ""))
				for range 8 {
					a, err := p.Do(background(t), call("model-a", "x", stream))
					if err != nil {
						t.Fatalf("%s, %d: %v", name, status, err)
					}
					if a.Status != status || a.Stream || len(a.Whole) > 0 {
						t.Fatalf("%s: status %d, body %.60s", name, a.Status, a.Whole)
					}
					a.Close()
				}
				if n := other.Count(); n != 0 {
					t.Errorf("%s, %d: the other target was asked %d times", name, status, n)
				}
				if s := p.Snapshot().Targets[0]; s.Breaker != "closed" || s.Failures != 0 {
					t.Errorf("%s, %d: a client's fault counted: %+v", name, status, s)
				}
			}
		}
	}
}

func TestContextLengthGoesToTheLongerTargetOnly(t *testing.T) {
	short := startMock(t, mock.Options{Fault: mock.Status, Status: 400, Code: "context_length_exceeded", Message: "maximum context length is 10 tokens"})
	plain := startMock(t, mock.Options{Text: "plain"})
	long := startMock(t, mock.Options{Text: "long"})
	tl := target(t, "long", long.URL, "")
	tl.ContextWindow = true
	p := newPool(t, upstream.Options{}, target(t, "short", short.URL, ""), target(t, "plain", plain.URL, ""), tl)
	a, err := p.Do(background(t), call("model-short", "x", false))
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := answerText(a); text != "long" || plain.Count() != 0 {
		t.Fatalf("%q, plain asked %d times", text, plain.Count())
	}
	a.Close()
	p = newPool(t, upstream.Options{}, target(t, "short", short.URL, ""), target(t, "plain", plain.URL, ""))
	a, err = p.Do(background(t), call("model-short", "x", false))
	if err != nil || a.Status != 400 {
		t.Fatalf("%v %v", a, err)
	}
	a.Close()
}

func TestAttemptsOfOneRequestAreBounded(t *testing.T) {
	short := startMock(t, mock.Options{Fault: mock.Status, Status: 400, Code: "context_length_exceeded", Message: "maximum context length is 10 tokens"})
	long := startMock(t, mock.Options{Text: "long"})
	for most := 1; most <= 4; most++ {
		var ts []*upstream.Target
		for i := range 5 {
			ts = append(ts, target(t, fmt.Sprint("t", i), startMock(t, mock.Options{Fault: mock.Status, Status: 500}).URL, ""))
		}
		p := newPool(t, upstream.Options{Fallback: upstream.Fallback{MaxAttempts: most}}, ts...)
		var e *upstream.Error
		if _, err := p.Do(background(t), call("model-t0", "x", false)); !errors.As(err, &e) || len(e.Attempts) != most {
			t.Errorf("at most %d: %v", most, err)
		}
		tl := target(t, "long", long.URL, "")
		tl.ContextWindow = true
		p = newPool(t, upstream.Options{Fallback: upstream.Fallback{MaxAttempts: most}}, target(t, "short", short.URL, ""), tl)
		a, err := p.Do(background(t), call("model-short", "x", false))
		if err != nil {
			t.Fatal(err)
		}
		if most == 1 && a.Status != 400 || most > 1 && a.Target.ID != "long" { // no other may be asked: the fault is the client's
			t.Errorf("at most %d: %d from %s", most, a.Status, a.Target.ID)
		}
		a.Close()
	}
}

func TestAllFailed(t *testing.T) {
	limited := func(retry int) string {
		return startMock(t, mock.Options{Fault: mock.Status, Status: 429, Retry: retry}).URL
	}
	p := newPool(t, upstream.Options{}, target(t, "a", limited(30), ""), target(t, "b", limited(7), ""))
	_, err := p.Do(background(t), call("model-a", "x", true))
	var e *upstream.Error
	if !errors.As(err, &e) || e.Status != 429 || e.RetryAfter != 7*time.Second {
		t.Fatalf("%v", err)
	}
	// Both are blocked now: nobody is asked, the answer is the same.
	_, err = p.Do(background(t), call("model-a", "x", true))
	if !errors.As(err, &e) || e.Status != 429 || len(e.Attempts) != 0 || e.RetryAfter > 7*time.Second || e.RetryAfter < 5*time.Second {
		t.Fatalf("%v %v", err, e.RetryAfter)
	}
	// Long waits: a target is asked again after a minute, so that is what all are told.
	p = newPool(t, upstream.Options{}, target(t, "a", limited(86_400), ""))
	for i := range 2 {
		_, err = p.Do(background(t), call("model-a", "x", true))
		if !errors.As(err, &e) || e.Status != 429 || len(e.Attempts) != 1-i || e.RetryAfter > time.Minute || e.RetryAfter < 58*time.Second {
			t.Fatalf("call %d: %v, after %v", i, err, e.RetryAfter)
		}
	}
	for _, status := range []int{401, 403} {
		bad := startMock(t, mock.Options{Fault: mock.Status, Status: status})
		p := newPool(t, upstream.Options{}, target(t, "a", limited(3), ""), target(t, "b", bad.URL, ""))
		_, err := p.Do(background(t), call("model-a", "x", true))
		if !errors.As(err, &e) || e.Status != 502 || e.Code != "upstream_error" || !strings.Contains(e.Error(), "a: rate_limit (429); b: auth") {
			t.Fatalf("%v", err)
		}
	}
	if _, err := p.Do(background(t), call("nobody-has-this", "x", true)); !errors.As(err, &e) || e.Status != 404 || e.Code != "model_not_found" {
		t.Fatalf("%v", err)
	}
}

// TestRedirectIsNotFollowed is T36: neither the request nor the key reaches the other place.
func TestRedirectIsNotFollowed(t *testing.T) {
	canary := startMock(t, mock.Options{})
	bad := startMock(t, mock.Options{Fault: mock.Redirect, Location: canary.URL + "/v1/chat/completions"})
	p := newPool(t, upstream.Options{}, target(t, "a", bad.URL, "secret"))
	_, err := p.Do(background(t), call("model-a", "x", true))
	var e *upstream.Error
	if !errors.As(err, &e) || e.Status != 502 || e.Attempts[0].Class != upstream.Redirect {
		t.Fatalf("%v", err)
	}
	if canary.Conns() != 0 {
		t.Fatal("the redirect was followed")
	}
}

func TestOnlyListedHeadersPass(t *testing.T) {
	m := startMock(t, mock.Options{Fault: mock.EvilHeader})
	p := newPool(t, upstream.Options{}, target(t, "a", m.URL, "the-key"))
	c := call("model-a", "x", true)
	c.Header = http.Header{}
	for _, h := range []string{"Authorization", "Cookie", "Proxy-Authorization", "Metadata-Flavor", "X-Aws-Ec2-Metadata-Token",
		"Api_base", "Base_url", "Openai-Organization", "X-Portkey-Custom-Host", "X-Forwarded-Host", "X-User-Id", "Host", "Accept-Encoding", "X-Stainless-Os"} {
		c.Header.Set(h, "canary")
	}
	c.Header.Set("Traceparent", "00-1-2-03")
	a, err := p.Do(background(t), c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got := m.Records()[0]
	for name, v := range got.Header {
		for _, x := range v {
			if strings.Contains(x, "canary") {
				t.Errorf("%s was forwarded", name)
			}
		}
	}
	if got.Header.Get("Traceparent") == "" || got.Header.Get("Accept-Encoding") != "identity" || got.Header.Get("Authorization") != "Bearer the-key" {
		t.Errorf("sent %v", got.Header)
	}
	for name := range a.Header {
		if name != "X-Request-Id" && name != "X-Ratelimit-Remaining-Requests" {
			t.Errorf("header %s would reach the client", name)
		}
	}
	if a.Header.Get("X-Request-Id") == "" {
		t.Error("x-request-id is missing")
	}
}

// TestExtraBytesNeverReachAnotherAnswer is T34: the connection that carried
// them is not used again.
func TestExtraBytesNeverReachAnotherAnswer(t *testing.T) {
	for range 30 {
		m := startMock(t, mock.Options{})
		m.SetDefault(mock.Options{Fault: mock.ExtraBytes})
		p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""))
		a, err := p.Do(background(t), call("model-a", "first", false))
		if err == nil {
			a.Close()
		}
		m.SetDefault(mock.Options{})
		a, err = p.Do(background(t), call("model-a", "second", false))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := answerText(a); text != "second" || strings.Contains(string(a.Whole), "poison") {
			t.Fatalf("%q %v", text, err)
		}
		a.Close()
	}
}

func TestStallsInMidStreamTimeOut(t *testing.T) {
	m := startMock(t, mock.Options{Text: "some text that is long enough", Fault: mock.StallMid, After: 2})
	tg := target(t, "a", m.URL, "")
	tg.Timeouts = fast
	p := newPool(t, upstream.Options{}, tg)
	a, err := p.Do(background(t), call("model-a", "x", true))
	if err != nil {
		t.Fatal(err)
	}
	text, err := answerText(a)
	if upstream.ClassOf(err) != upstream.TimeoutBetweenBytes || text != "some tex" {
		t.Fatalf("%q %v", text, err)
	}
	a.Close()
	if s := p.Snapshot().Targets[0]; s.Classes["timeout_between_bytes"] != 1 || s.InFlight != 0 {
		t.Fatalf("%+v", s)
	}
	waitFor(t, func() bool { r := m.Records()[0]; return r.HungUp })
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// TestCancelClosesTheConnectionAtOnce is the upstream half of T84: before the
// status, before the first event, in mid-stream.
func TestCancelClosesTheConnectionAtOnce(t *testing.T) {
	var worst time.Duration
	for _, o := range []mock.Options{
		{Fault: mock.StallStatus}, {Fault: mock.StallHeaders}, {Fault: mock.StallFirst},
		{Fault: mock.StallMid, Text: "abcdefgh", After: 1}, {Fault: mock.StallDone, Text: "abcdefgh"},
	} {
		for range 20 {
			m := startMock(t, o)
			p := newPool(t, upstream.Options{}, target(t, "a", m.URL, ""))
			ctx, cancel := context.WithCancel(background(t))
			done := make(chan struct{})
			go func() {
				defer close(done)
				a, err := p.Do(ctx, call("model-a", "x", true))
				if err != nil {
					var e *upstream.Error
					if !errors.As(err, &e) || e.Status != 499 || !errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v", o.Fault, err)
					}
					return
				}
				defer a.Close()
				if _, err := answerText(a); o.Fault == mock.StallDone && err == nil {
					_, err = a.Body.Read(make([]byte, 1))
					if upstream.ClassOf(err) != upstream.Cancelled {
						t.Errorf("%s: %v", o.Fault, err)
					}
				} else if upstream.ClassOf(err) != upstream.Cancelled {
					t.Errorf("%s: %v", o.Fault, err)
				}
			}()
			waitFor(t, func() bool { return m.Count() == 1 })
			time.Sleep(2 * time.Millisecond)
			at := time.Now()
			cancel()
			<-done
			waitFor(t, func() bool { return !m.Records()[0].Ended.IsZero() })
			if r := m.Records()[0]; !r.HungUp {
				t.Fatalf("%s: the target saw no hang-up", o.Fault)
			} else if d := r.Ended.Sub(at); d > worst {
				worst = d
			}
		}
	}
	t.Logf("longest time from cancel to the close seen by the target: %v (100 cancels)", worst)
	if worst > 5*time.Second {
		t.Fatal("cancel does not close the connection")
	}
}
