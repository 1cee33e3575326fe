package upstream_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// fakeNet is servers, plain and TLS, for *.example.com over in-memory pipes, that record
// every credential and answer with a random fault or an answer.
type fakeNet struct {
	roots *x509.CertPool
	cert  tls.Certificate
	asked atomic.Int64

	mu   sync.Mutex
	rng  *rand.Rand
	seen map[string]map[string]bool
	open []net.Conn
	wg   sync.WaitGroup
}

func newFakeNet() *fakeNet {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"*.example.com", "example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	n := &fakeNet{roots: x509.NewCertPool(), cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	n.roots.AddCert(parsed)
	n.reset(1)
	return n
}

func (n *fakeNet) reset(seed uint64) {
	n.wg.Wait()
	n.mu.Lock()
	n.rng, n.seen = rand.New(rand.NewPCG(seed, 3)), map[string]map[string]bool{}
	n.mu.Unlock()
}

// closeAll ends the servers, whatever the clients hold open.
func (n *fakeNet) closeAll() {
	n.mu.Lock()
	for _, c := range n.open {
		_ = c.Close()
	}
	n.open = n.open[:0]
	n.mu.Unlock()
}

func (n *fakeNet) credentials() map[string]map[string]bool {
	n.wg.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen
}

func (n *fakeNet) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	n.mu.Lock()
	n.open = append(n.open, there)
	n.mu.Unlock()
	n.wg.Go(func() { n.serve(host, there) })
	return here, nil
}

const fakeAnswer = `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`

const fakeStream = "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: [DONE]\n\n"

// peeked is a connection of which bytes were looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func (n *fakeNet) serve(host string, raw net.Conn) {
	defer raw.Close()
	br := bufio.NewReader(raw)
	var conn io.Writer = raw
	if first, err := br.Peek(1); err == nil && first[0] == 0x16 { // a TLS handshake record
		t := tls.Server(peeked{raw, br}, &tls.Config{Certificates: []tls.Certificate{n.cert}})
		conn, br = t, bufio.NewReader(t)
	}
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		n.asked.Add(1)
		n.mu.Lock()
		// What matters is the host that the connection went to, not what the request says.
		if n.seen[host] == nil {
			n.seen[host] = map[string]bool{}
		}
		for _, h := range []string{"Authorization", "Api-Key", "X-Api-Key", "Cookie", "X-Forwarded-Host"} {
			n.seen[host][r.Header.Get(h)] = true
		}
		what := n.rng.IntN(10)
		n.mu.Unlock()
		stream := r.Header.Get("Accept") == "text/event-stream"
		var out string
		switch what {
		case 0:
			out = "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://h1.example.com/v1/chat/completions\r\nContent-Length: 0\r\n\r\n"
		case 1:
			out = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
		case 2:
			return
		case 3:
			out = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
		case 4:
			time.Sleep(200 * time.Microsecond)
			fallthrough
		default:
			out = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(fakeAnswer)) + "\r\n\r\n" + fakeAnswer
			if stream {
				out = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " + strconv.Itoa(len(fakeStream)) + "\r\n\r\n" + fakeStream
			}
		}
		if _, err := io.WriteString(conn, out); err != nil {
			return
		}
	}
}
