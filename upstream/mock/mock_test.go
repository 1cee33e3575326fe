package mock_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keeptrusts/kt/upstream/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(m http.Handler, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

const (
	hello       = `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"hello"}]}`
	helloStream = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}]}`
)

func TestEchoStreamAndWhole(t *testing.T) {
	m := mock.New(nil)
	if w := ask(m, hello); w.Code != 200 || !strings.Contains(w.Body.String(), `"content":"hello"`) || !strings.Contains(w.Body.String(), `"usage"`) {
		t.Error(w.Body)
	}
	w := ask(m, helloStream).Body.String()
	for _, want := range []string{`"content":"hell"`, `"content":"o"`, `"finish_reason":"stop"`, `"usage":{`, "data: [DONE]\n\n"} {
		if !strings.Contains(w, want) {
			t.Errorf("no %s in %s", want, w)
		}
	}
	if m.Count() != 2 || m.Records()[0].Model != "m" {
		t.Errorf("%+v", m.Records())
	}
}

func TestSameSeedSameAnswer(t *testing.T) {
	for _, body := range []string{hello, helloStream} {
		a := ask(mock.New(&mock.Script{Default: mock.Options{Words: 30, Seed: 7}}), body).Body.Bytes()
		b := ask(mock.New(&mock.Script{Default: mock.Options{Words: 30, Seed: 7}}), body).Body.Bytes()
		c := ask(mock.New(&mock.Script{Default: mock.Options{Words: 30, Seed: 8}}), body).Body.Bytes()
		if !bytes.Equal(a, b) || bytes.Equal(a, c) {
			t.Error("the answer is not a function of the seed")
		}
	}
}

func TestScriptRules(t *testing.T) {
	s, err := mock.ParseScript([]byte(`{"key":"k","models":["a","b"],"rules":[
		{"contains":"weather","answer":{"tools":[{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}],"piece":3}},
		{"model":"limited","times":1,"answer":{"fault":"status","status":429,"retry":4,"code":"rate_limit_exceeded"}},
		{"header":["X-Case","two"],"answer":{"text":"second"}}],
		"default":{"text":"default","first":"1ms","delay":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	m := mock.New(s)
	key := []string{"Authorization", "Bearer k"}
	if w := ask(m, hello); w.Code != 401 {
		t.Error("a wrong key was accepted")
	}
	if w := ask(m, strings.ReplaceAll(helloStream, "hello", "weather?"), key...).Body.String(); !strings.Contains(w, `"arguments":"{\"c"`) || !strings.Contains(w, `"finish_reason":"tool_calls"`) {
		t.Error(w)
	}
	limited := strings.Replace(hello, `"m"`, `"limited"`, 1)
	if w := ask(m, limited, key...); w.Code != 429 || w.Header().Get("Retry-After") != "4" {
		t.Error(w.Code)
	}
	if w := ask(m, limited, key...); w.Code != 200 {
		t.Error("a rule for one time matched twice")
	}
	if w := ask(m, hello, append(key, "X-Case", "two")...).Body.String(); !strings.Contains(w, "second") {
		t.Error(w)
	}
	for _, bad := range []string{`{"rulez":[]}`, `{"default":{"fault":"no such"}}`, `{"rules":[{"answer":{"fault":"x"}}]}`, `[`} {
		if _, err := mock.ParseScript([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestModelOptions(t *testing.T) {
	m := mock.New(nil)
	body := func(o string) string { return strings.Replace(helloStream, `"m"`, `"m!`+o+`"`, 1) }
	w := ask(m, body("piece=1,text=abc,no_usage")).Body.String()
	if strings.Count(w, `"content":`) != 4 || strings.Contains(w, "usage") || !strings.Contains(w, `"model":"m"`) {
		t.Error(w)
	}
	if w := ask(m, body("status=503")); w.Code != 503 {
		t.Error(w.Code)
	}
	if w := ask(m, body("nonsense=1")); w.Code != 400 {
		t.Error(w.Code)
	}
}

func TestNChoicesAreInterleaved(t *testing.T) {
	m := mock.New(nil)
	w := ask(m, strings.Replace(helloStream, `"stream":true`, `"stream":true,"n":2`, 1)).Body.String()
	if strings.Count(w, `"index":1`) != 4 || strings.Index(w, `"index":1`) > strings.LastIndex(w, `"index":0`) {
		t.Error(w)
	}
}

func TestServerSeesTheClientHangUp(t *testing.T) {
	s, err := mock.Listen("", &mock.Script{Default: mock.Options{Fault: mock.StallFirst}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	r, _ := http.NewRequest(http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(helloStream))
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	_ = resp.Body.Close()
	for s.Records()[0].Ended.IsZero() {
		if time.Since(at) > 10*time.Second {
			t.Fatal("the hang-up was not seen")
		}
		time.Sleep(time.Millisecond)
	}
	if !s.Records()[0].HungUp {
		t.Error("not recorded as a hang-up")
	}
}

func TestModelsAndUnknownPaths(t *testing.T) {
	s, err := mock.Listen("", &mock.Script{Models: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for path, want := range map[string]string{"/v1/models": `"id":"b"`, "/v1/other": "no such path"} {
		r, _ := http.NewRequest(http.MethodGet, s.URL+path, nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !strings.Contains(string(b), want) {
			t.Errorf("%s: %s", path, b)
		}
	}
}

func TestCloseEndsStalls(t *testing.T) {
	for _, f := range []mock.Fault{mock.StallStatus, mock.StallHeaders, mock.StallFirst, mock.StallMid, mock.StallDone, mock.Drip, mock.DripStatus, mock.Flood1xx, mock.HugeEvent} {
		s, err := mock.Listen("", &mock.Script{Default: mock.Options{Text: "abc", Fault: f, Delay: mock.Duration(time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{}
		r, _ := http.NewRequest(http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(helloStream))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := tr.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
				_ = resp.Body.Close()
			}
		}()
		for s.Count() == 0 {
			time.Sleep(time.Millisecond)
		}
		s.Close()
		<-done
		tr.CloseIdleConnections()
	}
}

func TestFaultsAreSortedAndSaidInWords(t *testing.T) {
	if !slices.IsSorted(mock.Faults()) {
		t.Errorf("not sorted: %v", mock.Faults())
	}
	for _, f := range mock.Faults() {
		if f.About() == "" {
			t.Errorf("%s says nothing", f)
		}
	}
	if mock.None.About() != "" {
		t.Error("no fault is one")
	}
}
