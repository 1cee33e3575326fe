package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/internal/diag"
)

// Secret is a credential. No way of printing or encoding it shows it; only
// Reveal does. The zero value is no secret.
type Secret struct{ s string }

// NewSecret wraps a credential.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal gives the credential, to be put into a request and nowhere else.
func (s Secret) Reveal() string { return s.s }

// Empty tells that there is none.
func (s Secret) Empty() bool { return s.s == "" }

func (s Secret) shown() string {
	if s.s == "" {
		return "(none)"
	}
	return hidden
}

// String hides the secret.
func (s Secret) String() string { return s.shown() }

// GoString hides the secret.
func (s Secret) GoString() string { return s.shown() }

// Format hides the secret under every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.shown())) }

// MarshalJSON hides the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.shown()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

// SecretStore resolves secret_key_ref.store. An error never holds a secret.
type SecretStore interface {
	Secret(name string) (Secret, error)
}

// ErrNoSecret tells that a store has no secret of that name.
var ErrNoSecret = errors.New("no such secret")

// ErrSecretMode tells that others may read a secret's file or folder.
var ErrSecretMode = errors.New("readable or writable by others")

const maxSecretBytes = 64 << 10

// FileStore is a folder with one file per secret, the file's name being the
// secret's. Files that group or others may read or write are refused, and so
// is a folder they may write. One line break at the end is not part of the
// secret.
type FileStore struct{ Dir string }

// Secret reads one file.
func (st FileStore) Secret(name string) (Secret, error) {
	if !storeName.MatchString(name) || strings.Trim(name, ".") == "" {
		return Secret{}, errors.New("read secret: a name is made of letters, digits, underscore, hyphen and dot")
	}
	dir, err := os.Stat(st.Dir)
	if err != nil {
		return Secret{}, fmt.Errorf("open secret store: %w", err)
	}
	if !dir.IsDir() {
		return Secret{}, fmt.Errorf("open secret store %s: not a folder", st.Dir)
	}
	if dir.Mode().Perm()&0o022 != 0 {
		return Secret{}, fmt.Errorf("open secret store %s: mode %#o: %w; chmod 700 it", st.Dir, dir.Mode().Perm(), ErrSecretMode)
	}
	f, err := os.Open(filepath.Join(st.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, fmt.Errorf("read secret %s from %s: %w", name, st.Dir, ErrNoSecret)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	info, err := f.Stat()            // of the opened file: a swapped name changes nothing
	if err != nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", name, err)
	}
	switch {
	case !info.Mode().IsRegular():
		return Secret{}, fmt.Errorf("read secret %s: not a file", name)
	case info.Mode().Perm()&0o077 != 0:
		return Secret{}, fmt.Errorf("read secret %s: mode %#o: %w; chmod 600 it", name, info.Mode().Perm(), ErrSecretMode)
	case info.Size() > maxSecretBytes:
		return Secret{}, fmt.Errorf("read secret %s: %d bytes; the limit is %d", name, info.Size(), maxSecretBytes)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) && err != nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", name, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return Secret{text}, nil
}

// Usual says where the key of a target without secret_key_ref is looked for:
// the variables of its provider, the first one that is set wins. Optional is
// for providers that work without a key.
type Usual struct {
	Env      []string
	Optional bool
}

// Resolve finds a target's credential. The list says, as warnings, why the
// target is unavailable; an empty Secret without a warning means that the
// target needs none. getenv reads the environment; store may be nil.
func Resolve(t Target, usual Usual, getenv func(string) string, store SecretStore) (Secret, diag.List) {
	ref := t.SecretRef
	place := t.Value
	if v := t.Value.Get("secret_key_ref"); v.Exists() {
		place = v
	}
	warn := func(code diag.Code, msg, hint string) diag.List {
		return diag.List{place.Diag(code, diag.Warning, fmt.Sprintf("target %s is unavailable: %s", t.ID, msg), hint)}
	}
	var s Secret
	switch {
	case ref.Env != "":
		if s = (Secret{getenv(ref.Env)}); s.Empty() {
			return Secret{}, warn(diag.SecretMissing, fmt.Sprintf("the environment variable %s is not set", ref.Env), "export "+ref.Env+"=...")
		}
	case ref.Store != "":
		if store == nil {
			return Secret{}, warn(diag.SecretStore, fmt.Sprintf("its key %s is in a secret store and none is configured", ref.Store), "set KEEPTRUSTS_SECRETS_DIR to a folder with one file per secret")
		}
		var err error
		if s, err = store.Secret(ref.Store); err != nil {
			code := diag.SecretStore
			switch {
			case errors.Is(err, ErrNoSecret):
				code = diag.SecretMissing
			case errors.Is(err, ErrSecretMode):
				code = diag.SecretFileMode
			}
			return Secret{}, warn(code, err.Error(), "")
		}
		if s.Empty() {
			return Secret{}, warn(diag.SecretMissing, fmt.Sprintf("the stored secret %s is empty", ref.Store), "")
		}
	default:
		for _, n := range usual.Env {
			if s = (Secret{getenv(n)}); !s.Empty() {
				break
			}
		}
		if s.Empty() {
			if len(usual.Env) == 0 || usual.Optional {
				return Secret{}, nil
			}
			return Secret{}, warn(diag.SecretMissing, fmt.Sprintf("it has no secret_key_ref, and %s is not set", strings.Join(usual.Env, " or ")), "secret_key_ref: {env: "+usual.Env[0]+"}")
		}
	}
	for i := 0; i < len(s.s); i++ {
		if s.s[i] <= ' ' || s.s[i] >= 0x7f {
			return Secret{}, warn(diag.SecretUnclean, "its key holds a space, a line break or a character that is not ASCII", "store the key alone, without quotes or a line break")
		}
	}
	return s, nil
}

// secrets reports credentials written in the configuration.
func (c *checker) secrets(v Value, path []string) {
	switch v.Kind() {
	case Map:
		for _, f := range v.n.fields {
			c.secrets(v.Get(f.key), append(slices.Clone(path), f.key))
		}
	case List:
		for i := range v.n.items {
			c.secrets(v.Index(i), append(slices.Clone(path), fmt.Sprint(i)))
		}
	case String, Number:
		if !v.n.secret || c.lenient(path) && !v.n.byName {
			return
		}
		last := path[len(path)-1]
		if len(path) >= 2 && path[len(path)-2] == "secret_key_ref" && (last == "env" || last == "store") {
			if n := envName; last == "env" && !n.MatchString(v.n.text) || last == "store" && !storeName.MatchString(v.n.text) {
				return // the schema's pattern says it
			}
		}
		if last == "secret_key_ref" && (v.Kind() == Number || !secretText(v.n.text)) {
			return // a wrong type, said by the schema; it may be a variable's name
		}
		if (last == "api_key_header" || last == "api_key_prefix") && !secretText(v.n.text) {
			return // not a name, said by the schema; it may be the whole header
		}
		if last == "base_url" && v.n.byName && !hasUser(v.n.text) {
			c.err(v, diag.BadBaseURL, "base_url must not have a query or a fragment", "keys go into secret_key_ref; an API version into azure_api_version")
			return
		}
		if last == "base_url" {
			c.err(v, diag.SecretInline, "base_url holds credentials", "remove what stands before @ and use secret_key_ref: {env: NAME}")
			return
		}
		c.err(v, diag.SecretInline, fmt.Sprintf("a secret is written in the file under %s", lastName(path)),
			"put it into an environment variable, replace it at the provider, and name the variable: secret_key_ref: {env: NAME}")
	}
}

// credentialHeader tells whether a header carries a credential.
func credentialHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token":
		return true
	}
	return secretKey(name)
}
