package upstream

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Key is a target's secret, bound to the one origin it may be sent to. It
// prints as "[key]" whatever the verb. The zero Key is no key.
type Key struct {
	value  string
	origin string
}

// NewKey binds value to the origin of baseURL.
func NewKey(value, baseURL string) (Key, error) {
	if value == "" {
		return Key{}, nil
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return Key{}, fmt.Errorf("bind key: it holds a character that a header must not hold")
	}
	u, err := parseBase(baseURL)
	if err != nil {
		return Key{}, fmt.Errorf("bind key: %w", err)
	}
	return Key{value: value, origin: origin(u)}, nil
}

// IsZero tells whether there is no key.
func (k Key) IsZero() bool { return k.value == "" }

// String never shows the key.
func (k Key) String() string { return "[key]" }

// GoString never shows the key.
func (k Key) GoString() string { return "[key]" }

// Format never shows the key.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// MarshalText never shows the key; encoders of JSON and logs use it.
func (k Key) MarshalText() ([]byte, error) { return []byte("[key]"), nil }

// valueFor gives the key for a request to u, and fails when u is not where it belongs.
func (k Key) valueFor(u *url.URL) (string, error) {
	if k.value == "" {
		return "", nil
	}
	if o := origin(u); o != k.origin {
		return "", fmt.Errorf("send key: it belongs to %s, the request goes to %s", k.origin, o)
	}
	return k.value, nil
}

// parseBase reads a base URL. Only what a target needs is accepted: http or
// https, a host, no user, query or fragment.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse base_url: not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("parse base_url: scheme must be https or http; got %q", u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("parse base_url: user and password are not accepted")
	case u.Hostname() == "":
		return nil, fmt.Errorf("parse base_url: host is missing")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("parse base_url: query and fragment are not accepted")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }):
		return nil, fmt.Errorf("parse base_url: host %q is not accepted; write it in its ASCII form (xn--...)", u.Hostname())
	case strings.ContainsAny(u.Hostname(), "%\\ \t\r\n"):
		return nil, fmt.Errorf("parse base_url: host %q is not accepted", u.Hostname())
	}
	return u, nil
}

// origin is scheme, host and port, spelled in one way.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	return u.Scheme + "://" + net.JoinHostPort(host, port)
}

// isLoopbackName tells whether host can only mean this machine: a loopback
// address, or localhost, which RFC 6761 section 6.3 reserves. What the name
// connects to is checked again at connect time.
func isLoopbackName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Override points t at another base URL, as --upstream does, and gives the
// changed copy. A loopback address inherits the target's key and may be plain
// http and private. Any other address needs its own key (newKey) and https.
func Override(t *Target, baseURL, newKey string) (*Target, error) {
	u, err := parseBase(baseURL)
	if err != nil {
		return nil, fmt.Errorf("override upstream: %w", err)
	}
	c := *t
	c.BaseURL = baseURL
	value := newKey
	if isLoopbackName(u.Hostname()) {
		c.AllowPrivate = true
		if value == "" {
			value = t.Key.value
		}
	} else {
		switch {
		case value == "":
			return nil, fmt.Errorf("override upstream: %s is not a loopback address, so it needs its own key (--upstream-api-key)", u.Host)
		case u.Scheme != "https":
			return nil, fmt.Errorf("override upstream: %s is not a loopback address, so the URL must be https", u.Host)
		}
		c.UnsafeAllowHTTP = false
	}
	c.Proxy = ""
	if c.Key, err = NewKey(value, baseURL); err != nil {
		return nil, fmt.Errorf("override upstream: %w", err)
	}
	return &c, nil
}
