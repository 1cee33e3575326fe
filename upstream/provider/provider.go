// Package provider says what providers of OpenAI-compatible APIs do
// differently: base URL, how the key is sent, paths, capabilities. A provider
// is a row, not code.
package provider

import (
	"fmt"
	"strings"
)

// Caps is a set of capabilities.
type Caps uint32

// The capabilities.
const (
	Chat Caps = 1 << iota
	Stream
	Tools
	Usage      // stream_options.include_usage is known
	Models     // GET /v1/models
	Embeddings // /v1/embeddings
	Responses  // /v1/responses
	Audio      // /v1/audio/*
	Logprobs
	Vision
)

var capNames = []string{"chat", "stream", "tools", "usage", "models", "embeddings", "responses", "audio", "logprobs", "vision"}

// Has tells whether all of x are in c.
func (c Caps) Has(x Caps) bool { return c&x == x }

func (c Caps) String() string {
	var names []string
	for i, n := range capNames {
		if c&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

// Row is one provider.
type Row struct {
	ID      string
	Aliases []string
	Name    string // for people

	BaseURL     string   // default; empty: the configured base_url is the contract
	KeyEnv      []string // environment variables that usually hold the key, first that is set counts
	KeyOptional bool     // works without a key
	AuthHeader  string   // empty: Authorization
	AuthPrefix  string   // "Bearer " unless AuthHeader is set

	// Exact: base_url is used as it is written and OpenAI's path without /v1
	// follows it. Else a trailing /v1 of the base URL does not count and
	// "/v1/..." follows.
	Exact bool
	// Template, when set, gives the path that follows the base URL, whose own
	// path it gets. {path} is OpenAI's path without /v1, {model} the model,
	// {deployment} the deployment, {version} the API version. A query may follow.
	Template   func(basePath string) string
	APIVersion string // default of {version}

	Local   bool // runs on the user's own machine: base_url is plain http to loopback, which needs allow_private: true
	Caps    Caps
	Quirks  string // what to know, one line; empty: nothing
	Missing string // why targets of this provider cannot be asked yet; empty: they can
}

// Auth gives the header that carries the key and what stands before the key in it.
func (r *Row) Auth() (header, prefix string) {
	if r.AuthHeader == "" {
		return "Authorization", "Bearer "
	}
	return r.AuthHeader, r.AuthPrefix
}

// Canonical is how ids are compared: lower case, "_" is "-".
func Canonical(id string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(id)), "_", "-")
}

// Kinds of ParseID.
var kinds = []string{"chat", "completion", "embedding"}

// ParseID splits "openai" or "openai:chat:gpt-5". The model part may itself
// hold "/" and ":".
func ParseID(s string) (id, kind, model string, err error) {
	parts := strings.SplitN(s, ":", 3)
	id = Canonical(parts[0])
	if id == "" {
		return "", "", "", fmt.Errorf("parse provider: %q has no id", s)
	}
	if len(parts) == 1 {
		return id, "", "", nil
	}
	kind = strings.ToLower(parts[1])
	for _, k := range kinds {
		if k != kind {
			continue
		}
		if len(parts) == 2 || parts[2] == "" {
			return "", "", "", fmt.Errorf("parse provider: %q must be <id>:<kind>:<model>", s)
		}
		return id, kind, parts[2], nil
	}
	return "", "", "", fmt.Errorf("parse provider: kind must be chat, completion or embedding; got %q", parts[1])
}
