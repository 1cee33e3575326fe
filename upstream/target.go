package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/upstream/provider"
)

// plainRow stands for a target without a provider: OpenAI's own form.
var plainRow = &provider.Row{ID: "openai", BaseURL: "https://api.openai.com"}

func (t *Target) row() *provider.Row {
	if t.Provider == nil {
		return plainRow
	}
	return t.Provider
}

// base gives the base URL without a trailing slash or /v1, checked: https, or
// plain http where the target permits it.
func (t *Target) base() (*url.URL, error) {
	raw := t.BaseURL
	if raw == "" {
		if raw = t.row().BaseURL; raw == "" {
			return nil, fmt.Errorf("target %q: provider %s has no default base_url: it must be set", t.ID, t.row().ID)
		}
	}
	u, err := parseBase(raw)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", t.ID, err)
	}
	if u.Scheme == "http" && !t.UnsafeAllowHTTP && !(t.AllowPrivate && isLoopbackName(u.Hostname())) {
		return nil, fmt.Errorf("target %q: base_url must be https; plain http is for loopback with allow_private: true, or unsafe_allow_http: true", t.ID)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if !t.row().Exact {
		u.Path = strings.TrimSuffix(u.Path, "/v1")
	}
	u.RawPath = ""
	return u, nil
}

// Check tells whether the target can be asked at all: base URL, key, headers.
func (t *Target) Check() error {
	if t.ID == "" {
		return errors.New("target: id is missing")
	}
	u, err := t.base()
	if err != nil {
		return err
	}
	if _, err := t.Key.valueFor(u); err != nil {
		return fmt.Errorf("target %q: %w", t.ID, err)
	}
	if _, err := t.endpoint(u, "/v1/chat/completions", "model"); err != nil {
		return fmt.Errorf("target %q: %w", t.ID, err)
	}
	return nil
}

// endpoint builds the URL of one request. model and deployment are escaped: they
// can never add a path segment, a query or a host.
func (t *Target) endpoint(base *url.URL, path, model string) (*url.URL, error) {
	row := t.row()
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil, errors.New("build request: path must begin with /v1/")
	}
	template := t.PathTemplate
	switch {
	case template != "":
	case row.Template != nil:
		template = row.Template(base.Path)
	case row.Exact:
		template = "{path}"
	default:
		template = "/v1{path}"
	}
	deployment := t.Deployment
	if deployment == "" {
		deployment = t.Model
	}
	if deployment == "" {
		deployment = model
	}
	version := t.APIVersion
	if version == "" {
		version = row.APIVersion
	}
	full := strings.NewReplacer(
		"{path}", "/"+rest,
		"{model}", url.PathEscape(model),
		"{deployment}", url.PathEscape(deployment),
		"{version}", url.QueryEscape(version),
	).Replace(template)
	full, query, _ := strings.Cut(full, "?")
	if !strings.HasPrefix(full, "/") {
		return nil, fmt.Errorf("build request: path template must begin with / or {path}; got %q", template)
	}
	escaped := base.EscapedPath() + full
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("build request: path template is not a valid path")
	}
	if slices.Contains(strings.Split(plain, "/"), "..") {
		return nil, errors.New("build request: a path segment is \"..\"")
	}
	return &url.URL{Scheme: base.Scheme, Host: base.Host, Path: plain, RawPath: escaped, RawQuery: query}, nil
}

// Serves tells whether clients may ask the target for model.
func (t *Target) Serves(model string) bool {
	return t.Model == "" && len(t.Models) == 0 || t.Model == model || slices.Contains(t.Models, model)
}

// modelFor gives the model to send when the client asked for model. A name of
// Models stays: the provider knows it.
func (t *Target) modelFor(model string) string {
	if t.Model == "" || slices.Contains(t.Models, model) {
		return model
	}
	return t.Model
}
