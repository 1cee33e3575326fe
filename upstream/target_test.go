package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/mock"
	"github.com/keeptrusts/kt/upstream/provider/all"
)

func TestPathIsTheSameWithAndWithoutV1(t *testing.T) {
	m := startMock(t, mock.Options{})
	for _, suffix := range []string{"", "/", "/v1", "/v1/"} {
		p := newPool(t, upstream.Options{}, target(t, "a", m.URL+suffix, "k"))
		a, err := p.Do(background(t), call("model-a", "x", false))
		if err != nil {
			t.Fatal(suffix, err)
		}
		a.Close()
	}
	for _, r := range m.Records() {
		if r.Path != "/v1/chat/completions" {
			t.Errorf("asked for %s", r.Path)
		}
	}
}

func TestProviderPathAndKeyHeader(t *testing.T) {
	m := startMock(t, mock.Options{})
	cases := []struct{ provider, base, path, query, header, value string }{
		{"openai", "", "/v1/chat/completions", "", "Authorization", "Bearer k"},
		{"groq", "/openai", "/openai/v1/chat/completions", "", "Authorization", "Bearer k"},
		{"groq", "/openai/v1", "/openai/v1/chat/completions", "", "Authorization", "Bearer k"},
		{"perplexity", "", "/chat/completions", "", "Authorization", "Bearer k"},
		{"google", "/v1beta/openai", "/v1beta/openai/chat/completions", "", "Authorization", "Bearer k"},
		{"cloudflare_gateway", "/v1/acc/gw/openai", "/v1/acc/gw/openai/chat/completions", "", "Authorization", "Bearer k"},
		{"databricks", "/serving-endpoints", "/serving-endpoints/chat/completions", "", "Authorization", "Bearer k"},
		{"cloudera", "/ns/ep/v1", "/ns/ep/v1/chat/completions", "", "Authorization", "Bearer k"},
		{"azure", "", "/openai/deployments/model-a/chat/completions", "api-version=2024-02-01", "Api-Key", "k"},
		{"azure", "/openai", "/openai/deployments/model-a/chat/completions", "api-version=2024-02-01", "Api-Key", "k"},
		{"azure-openai", "/openai/deployments/mine", "/openai/deployments/mine/chat/completions", "api-version=2024-02-01", "Api-Key", "k"},
	}
	for _, c := range cases {
		row, err := all.Lookup(c.provider)
		if err != nil {
			t.Fatal(err)
		}
		tg := target(t, "a", m.URL+c.base, "k")
		tg.Provider = row
		p := newPool(t, upstream.Options{}, tg)
		a, err := p.Do(background(t), call("model-a", "x", false))
		if err != nil {
			t.Fatal(c.provider, err)
		}
		a.Close()
		all := m.Records()
		r := all[len(all)-1]
		if r.Path != c.path || r.Query != c.query || r.Header.Get(c.header) != c.value {
			t.Errorf("%s%s: path %s query %s key %q", c.provider, c.base, r.Path, r.Query, r.Header.Get(c.header))
		}
		if c.header != "Authorization" && r.Header.Get("Authorization") != "" {
			t.Errorf("%s: the key went into Authorization too", c.provider)
		}
	}
}

func TestPathTemplateTakesTheModelButNotItsSlashes(t *testing.T) {
	m := startMock(t, mock.Options{})
	tg := target(t, "a", m.URL, "")
	tg.PathTemplate = "/serve/{model}/chat/completions"
	tg.Model = "" // the client's goes on
	p := newPool(t, upstream.Options{}, tg)
	for _, model := range []string{"plain", "a/b", "@evil.test/x", "?q=1#f", `\..\`, "//evil.test"} {
		a, err := p.Do(background(t), call(model, "x", false))
		if err != nil {
			t.Fatal(model, err)
		}
		a.Close()
		rs := m.Records()
		r := rs[len(rs)-1]
		if r.Query != "" || !strings.HasPrefix(r.Path, "/serve/") || !strings.HasSuffix(r.Path, "/chat/completions") {
			t.Errorf("%q gave path %q query %q", model, r.Path, r.Query)
		}
	}
	n := m.Count()
	if _, err := p.Do(background(t), call("..", "x", false)); err == nil || m.Count() != n {
		t.Error("the model .. went into the path")
	}
}

func TestCheckRefusesWhatIsNotABaseURL(t *testing.T) {
	for _, c := range []struct {
		url      string
		private  bool
		unsafe   bool
		accepted bool
	}{
		{"https://api.example.com", false, false, true},
		{"http://api.example.com", false, false, false},
		{"http://api.example.com", true, false, false},
		{"http://api.example.com", false, true, true},
		{"http://localhost:1", true, false, true},
		{"http://127.0.0.1:1", true, false, true},
		{"http://[::1]:1", true, false, true},
		{"http://127.0.0.1:1", false, false, false},
		{"https://user@api.example.com", false, false, false},
		{"https://user:pass@api.example.com", false, false, false},
		{"https://api.example.com?x=1", false, false, false},
		{"https://api.example.com#f", false, false, false},
		{"https://", false, false, false},
		{"ftp://api.example.com", false, false, false},
		{"api.example.com", false, false, false},
		{"file:///etc/passwd", false, false, false},
		{"https://a%2eb", false, false, false},
	} {
		tg := &upstream.Target{ID: "a", BaseURL: c.url, AllowPrivate: c.private, UnsafeAllowHTTP: c.unsafe}
		if err := tg.Check(); (err == nil) != c.accepted {
			t.Errorf("%s private=%v unsafe=%v: %v", c.url, c.private, c.unsafe, err)
		}
	}
}

func TestKeyNeverPrints(t *testing.T) {
	k, err := upstream.NewKey("sk-canary", "https://api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	tg := &upstream.Target{ID: "a", Key: k}
	j, err := json.Marshal(struct {
		K upstream.Key
		T any
	}{k, tg})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x %d", k, k, k, k, k, k, k), fmt.Sprintf("%v %+v %#v", *tg, tg, *tg), string(j)} {
		if strings.Contains(s, "canary") || strings.Contains(s, "736b2d63616e617279") {
			t.Errorf("the key shows: %s", s)
		}
	}
	if _, err := upstream.NewKey("sk-canary\r\nX: y", "https://a"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a key with a line end: %v", err)
	}
}

func TestKeyIsBoundToItsOrigin(t *testing.T) {
	k, _ := upstream.NewKey("secret", "https://API.example.com/v1")
	for _, same := range []string{"https://api.example.com", "https://api.example.com:443/v1", "https://api.example.com./"} {
		if err := (&upstream.Target{ID: "a", BaseURL: same, Key: k}).Check(); err != nil {
			t.Errorf("%s: %v", same, err)
		}
	}
	for _, other := range []string{"https://api.example.org", "https://api.example.com:444", "http://api.example.com", "https://example.com", "https://api.example.com.evil.test"} {
		tg := &upstream.Target{ID: "a", BaseURL: other, Key: k, UnsafeAllowHTTP: true}
		if err := tg.Check(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", other, err)
		}
		if _, err := upstream.New([]*upstream.Target{tg}, upstream.Options{}); err == nil {
			t.Errorf("%s: a pool was made", other)
		}
	}
}

// TestOverride is the last part of T75.
func TestOverride(t *testing.T) {
	k, _ := upstream.NewKey("secret", "https://api.openai.com")
	orig := &upstream.Target{ID: "a", BaseURL: "https://api.openai.com", Key: k}
	m := startMock(t, mock.Options{})
	over, err := upstream.Override(orig, m.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, upstream.Options{}, over)
	a, err := p.Do(background(t), call("any", "x", false))
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if m.Records()[0].KeyHash != mock.KeyHash("secret") {
		t.Error("a loopback override did not inherit the key")
	}
	if orig.BaseURL != "https://api.openai.com" || orig.AllowPrivate {
		t.Error("the original target was changed")
	}
	for _, c := range []struct {
		url, key string
		ok       bool
	}{
		{"https://proxy.example.com", "", false},
		{"http://proxy.example.com", "own", false},
		{"http://10.0.0.1:8080", "own", false},
		{"https://localhost.evil.test", "", false},
		{"http://127.0.0.1.evil.test", "own", false},
		{"https://proxy.example.com", "own", true},
		{"http://localhost:1", "", true},
		{"http://[::ffff:127.0.0.1]:1", "", true},
		{"not a url", "own", false},
	} {
		if o, err := upstream.Override(orig, c.url, c.key); (err == nil) != c.ok {
			t.Errorf("%s with key %q: %v", c.url, c.key, err)
		} else if err == nil && o.Check() != nil {
			t.Errorf("%s: %v", c.url, o.Check())
		}
	}
}

// fakeDNS answers every A question with addr and every AAAA question with addr6.
func fakeDNS(t *testing.T, addr string) *net.Resolver {
	t.Helper()
	ip := netip.MustParseAddr(addr)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = pc.Close(); wg.Wait() })
	wg.Go(func() {
		var b [512]byte
		for {
			n, from, err := pc.ReadFrom(b[:])
			if err != nil {
				return
			}
			q := b[:n]
			end := 12
			for end < n && q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			wantV6 := q[end-3] == 28
			out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
			if wantV6 == ip.Is6() {
				out[7] = 1
				raw := ip.AsSlice()
				out = append(out, 0xc0, 12, 0, q[end-3], 0, 1, 0, 0, 0, 60, 0, byte(len(raw)))
				out = append(out, raw...)
			}
			_, _ = pc.WriteTo(out, from)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// TestPrivateAddressesAreRefusedAtConnectTime is T71: what counts is the address
// that the name resolves to, not the name.
func TestPrivateAddressesAreRefusedAtConnectTime(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "::ffff:169.254.169.254", "169.254.1.1",
		"fd00::1", "fd00:ec2::254", "fe80::1", "100.64.0.1", "100.100.100.200", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "2001:db8::1", "fec0::1", "ff02::1",
	} {
		tr := upstream.NewTransport(upstream.TransportOptions{Resolver: fakeDNS(t, ip)})
		k, _ := upstream.NewKey("secret", "https://inside.example.com")
		tg := &upstream.Target{ID: "a", BaseURL: "https://inside.example.com", Key: k, Timeouts: upstream.Timeouts{Connect: 2 * time.Second}}
		_, err := tr.Do(background(t), tg, upstream.Request{Path: "/v1/chat/completions", Body: []byte("{}")})
		if c := upstream.ClassOf(err); c != upstream.RefusedAddress {
			t.Errorf("%s: %v (%s)", ip, err, c)
		} else if !strings.Contains(err.Error(), "allow_private: true") {
			t.Errorf("%s: the error does not say what to do: %v", ip, err)
		}
		tr.Close()
	}
}

func TestSpelledAddressesAreRefused(t *testing.T) {
	canary := startMock(t, mock.Options{})
	u, _ := url.Parse(canary.URL)
	tr := upstream.NewTransport(upstream.TransportOptions{})
	defer tr.Close()
	for _, host := range []string{"127.0.0.1", "2130706433", "0177.0.0.1", "0x7f000001", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::1]", "localhost", "localhost.", "127.0.0.1."} {
		tg := &upstream.Target{ID: "a", BaseURL: "http://" + host + ":" + u.Port(), UnsafeAllowHTTP: true, Timeouts: upstream.Timeouts{Connect: 2 * time.Second}}
		_, err := tr.Do(background(t), tg, upstream.Request{Path: "/v1/chat/completions", Body: []byte("{}")})
		if err == nil {
			t.Errorf("%s was asked", host)
		}
	}
	if canary.Conns() != 0 {
		t.Errorf("%d connections were made", canary.Conns())
	}
	// Plain http that is allowed for loopback only must not leave it, whatever the name resolves to.
	tr2 := upstream.NewTransport(upstream.TransportOptions{Resolver: fakeDNS(t, "10.0.0.7")})
	defer tr2.Close()
	tg := &upstream.Target{ID: "a", BaseURL: "http://x.localhost.example:" + u.Port(), AllowPrivate: true}
	if err := tg.Check(); err == nil {
		t.Error("plain http to a name that is not loopback was accepted")
	}
}

// TestKeysStayOnTheirHost is T75 over 10,000 random configurations: targets,
// base URLs, keys, faults with fallback, retry, probing and redirects. Each
// host records every credential that it saw.
func TestKeysStayOnTheirHost(t *testing.T) {
	n := 10_000 / shrink
	if testing.Short() {
		n = 500
	}
	rng := rand.New(rand.NewPCG(1, 2))
	net := newFakeNet()
	for i := range n {
		keys := map[string]string{} // by host
		var targets []*upstream.Target
		count := 1 + rng.IntN(4)
		for j := range count {
			host := fmt.Sprintf("h%d.example.com", rng.IntN(6))
			scheme := "http://"
			if rng.IntN(20) == 0 {
				scheme = "https://"
			}
			base := scheme + host
			if rng.IntN(2) == 0 {
				base += "/v1"
			}
			if keys[host] == "" {
				keys[host] = fmt.Sprintf("key-%d-%s", i, host)
			}
			own := keys[host]
			bound := base
			if rng.IntN(10) == 0 {
				// A wrong configuration: the key of another host.
				host = fmt.Sprintf("h%d.example.com", rng.IntN(6))
				bound = scheme + host
				if keys[host] == "" {
					keys[host] = fmt.Sprintf("key-%d-%s", i, host)
				}
				own = keys[host]
			}
			k, err := upstream.NewKey(own, bound)
			if err != nil {
				t.Fatal(err)
			}
			tg := &upstream.Target{ID: fmt.Sprint("t", j), BaseURL: base, Key: k, Model: "m", UnsafeAllowHTTP: true}
			if rng.IntN(4) == 0 {
				tg.PathTemplate = []string{"//other.example.com/{model}", "/x{path}", "/{model}@h0.example.com/c", "/\\h0.example.com"}[rng.IntN(4)]
			}
			if tg.Check() == nil {
				targets = append(targets, tg)
			}
		}
		if len(targets) == 0 {
			continue
		}
		net.reset(rng.Uint64())
		tr := upstream.NewTransport(upstream.TransportOptions{Dial: net.dial, RootCAs: net.roots})
		p, err := upstream.New(targets, upstream.Options{
			Transport: tr, Seed: rng.Uint64() | 1,
			Routing:  upstream.Routing{Strategy: upstream.Strategy(rng.IntN(11))},
			Fallback: upstream.Fallback{MaxAttempts: 1 + rng.IntN(4)},
			Retry:    upstream.Retry{MaxAttempts: rng.IntN(3), InitialBackoff: time.Microsecond, MaxBackoff: time.Microsecond},
			Probe:    upstream.Probe{Enabled: rng.IntN(2) == 0, After: time.Duration(1+rng.IntN(300)) * time.Microsecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		c := call("m", "x", rng.IntN(2) == 0)
		c.Header = http.Header{"Authorization": {"Bearer client"}, "X-Forwarded-Host": {"h0.example.com"}}
		a, err := p.Do(background(t), c)
		if err == nil {
			if rng.IntN(2) == 0 {
				if err := a.Replace(background(t), upstream.Cut); err != nil {
					var e *upstream.Error
					if !errors.As(err, &e) {
						t.Fatal(err)
					}
				}
			}
			a.Close()
		}
		p.Close()
		tr.Close()
		net.closeAll()
		for host, seen := range net.credentials() {
			for cred := range seen {
				if cred != "" && cred != "Bearer "+keys[host] {
					t.Fatalf("configuration %d: %s saw the credential %q", i, host, cred)
				}
			}
		}
	}
	if net.asked.Load() == 0 {
		t.Fatal("no request was made")
	}
	t.Logf("%d configurations, %d requests", n, net.asked.Load())
}
