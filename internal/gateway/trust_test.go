package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keeptrusts/kt/upstream/mock"
)

// T76: what a client says of itself, and what cloud metadata services ask for, stays with the gateway.
func TestClientCredentialsAndMetadataHeadersDoNotGoOn(t *testing.T) {
	r := start(t, quickstart, nil)
	sent := map[string]string{
		"Authorization": "Bearer of-the-client", "Cookie": "a=b", "Proxy-Authorization": "Basic eDp5", "Metadata-Flavor": "Google",
		"X-Aws-Ec2-Metadata-Token": "t", "X-User-Id": "u1", "X-Team-Id": "t1", "X-Forwarded-Host": "evil.example", "Tracestate": "a=b",
		"Traceparent": "not a trace",
	}
	var list []string
	for k, v := range sent {
		list = append(list, k, v)
	}
	if got := r.post(t, ask("x"), list...); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	seen := r.mock.Records()[0].Header
	for k, v := range sent {
		if seen.Get(k) == v {
			t.Errorf("%s went on to the provider", k)
		}
	}
}

// T35: of a provider's headers only those on the allow-list reach the client.
func TestProviderHeadersReachTheClientByAllowListOnly(t *testing.T) {
	r := start(t, quickstart, &mock.Script{Default: mock.Options{Fault: mock.EvilHeader}})
	for _, more := range []string{`"stream":false`, `"stream":true`} {
		got := r.post(t, ask("x", more))
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		for _, k := range []string{"Set-Cookie", "Server", "X-Kt-Policy", "X-Keeptrusts-Decision"} {
			if got.head.Get(k) != "" {
				t.Errorf("%s: header %s reached the client", more, k)
			}
		}
		if got.head.Get("X-Ratelimit-Remaining-Requests") != "7" {
			t.Errorf("%s: the rate-limit header is missing", more)
		}
	}
}

// T73: the gateway never fetches an address that a client names.
func TestAddressesInARequestAreNeverFetched(t *testing.T) {
	var hits atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer canary.Close()
	r := start(t, quickstart, nil)
	body := strings.ReplaceAll(`{"model":"gpt-5.4-mini","messages":[{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"URL/a.png"}}]}],
		"tools":[{"type":"function","function":{"name":"f","parameters":{"$ref":"URL/schema.json"}}}]}`, "URL", canary.URL)
	if got := r.post(t, body); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests to an address that a client named", n)
	}
}

// T70: nothing that a client says beside the body's model chooses where a request goes, or comes along.
func TestNothingBesideTheModelChoosesTheTarget(t *testing.T) {
	var hits atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer canary.Close()
	r := start(t, quickstart, nil)
	host := strings.TrimPrefix(canary.URL, "http://")
	req, err := http.NewRequest("POST", r.url+"/v1/chat/completions?api_base="+canary.URL+"&base_url="+canary.URL+"&model=other&api-version=1&key=k", strings.NewReader(ask("x")))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{
		"Content-Type": "application/json", "X-Portkey-Custom-Host": canary.URL, "X-Forwarded-Host": host, "X-Original-Url": canary.URL, "X-Rewrite-Url": "/v1/files", "X-Http-Method-Override": "GET",
		"Api-Key": "of-the-client", "X-Api-Key": "of-the-client", "X-Goog-Api-Key": "of-the-client", "Openai-Organization": "org-x", "Openai-Project": "p", "Forwarded": "host=" + host, "Helicone-Target-Url": canary.URL,
	} {
		req.Header.Set(name, v)
	}
	resp, err := r.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	seen := r.mock.Records()
	if resp.StatusCode != 200 || len(seen) != 1 || hits.Load() != 0 {
		t.Fatalf("%d, %d calls to the target, %d elsewhere", resp.StatusCode, len(seen), hits.Load())
	}
	if seen[0].Path != "/v1/chat/completions" || seen[0].Query != "" || seen[0].KeyHash != mock.KeyHash("sk-upstream") {
		t.Errorf("%+v", seen[0])
	}
	for name := range seen[0].Header {
		switch name {
		case "Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Request-Id":
		default:
			t.Errorf("%s went on", name)
		}
	}
}
