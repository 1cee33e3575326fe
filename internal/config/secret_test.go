package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

// TestSecretsNeverShow puts a secret into every place of a file that we could
// think of, and reads everything that Load says.
func TestSecretsNeverShow(t *testing.T) {
	const secret = "hunter2-xyzzy-secret"
	const key = "sk-proj-hunter2AbCdEfGhIjKl0123456789"
	target := "providers:\n  targets:\n    - id: a\n      provider: openai\n      model: m\n"
	for name, text := range map[string]string{
		"plain":             head + target + "      api_key: " + secret + "\n",
		"plain, faults":     head + target + "      api_key: " + secret + "\n      zzz: 1\n      api_key: " + secret + "2\n",
		"double quoted":     head + target + "      api_key: \"" + secret + "\"\n",
		"escaped":           head + target + "      api_key: \"hunter2\\x2dxyzzy\"\n",
		"single quoted":     head + target + "      api_key: '" + secret + "' # " + secret + "\n",
		"literal block":     head + target + "      api_key: |\n        " + secret + "\n        second-hunter2\n      zzz: 1\n",
		"folded block":      head + target + "      api_key: >-\n        " + secret + "\n        second-hunter2\n",
		"many lines":        head + target + "      api_key: hunter2\n        second-hunter2\n      zzz: 1\n",
		"flow":              head + "providers: {targets: [{id: a, api_key: " + secret + ", zzz: 1, provider: openai, model: m}]}\n",
		"flow over lines":   head + "providers: {targets: [{id: a, api_key:\n  " + secret + ", zzz: 1,\n  provider: openai, model: m}]}\n",
		"anchored":          head + target + "      api_key: &hunter2-anchor " + secret + "\n      token: *hunter2-anchor\n",
		"tagged":            head + target + "      api_key: !hunter2tag " + secret + "\n",
		"a number":          head + target + "      api_key: 0123456789\n      password: 0123456789\n",
		"ref as text":       head + target + "      secret_key_ref: " + secret + "\n",
		"ref list":          head + target + "      secret_key_ref: [" + secret + "]\n",
		"ref env":           head + target + "      secret_key_ref: {env: " + secret + "}\n",
		"ref store":         head + target + "      secret_key_ref: {store: \"" + secret + "!\"}\n",
		"ref key":           head + target + "      secret_key_ref: {value: " + secret + "}\n",
		"key in env":        head + target + "      secret_key_ref: {env: " + key + "}\n",
		"key as key":        head + target + "      " + key + ": x\n      " + key + ": y\n",
		"key in model":      head + strings.ReplaceAll(target, "model: m", "model: "+key),
		"key in id":         head + strings.ReplaceAll(target, "id: a", "id: "+key) + "    - id: " + key + "\n      provider: openai\n      model: m\n",
		"key as kind":       "pack: {name: x, version: 0.1.0}\npolicies: {chain: [" + key + ", {" + key + ": {when: {}}}]}\n",
		"key as provider":   head + strings.ReplaceAll(target, "provider: openai", "provider: \"openai:"+key+"\""),
		"key as strategy":   head + target + "  routing: {strategy: " + key + "}\n",
		"key as trigger":    head + target + "  fallback: {triggers: [" + key + "]}\n",
		"header":            head + target + "      headers: {Authorization: \"Bearer " + secret + "\", X-Auth-Token: " + secret + ", x-note: " + key + "}\n",
		"header name":       head + target + "      headers: {\"" + key + "\": x}\n",
		"address":           head + target + "      base_url: https://user:" + secret + "@example.com\n",
		"address, http":     head + target + "      base_url: http://" + secret + "@example.com\n",
		"unknown section":   head + target + "callbacks:\n  - {type: datadog, api_key: " + secret + ", secret_key: " + secret + "}\n",
		"in tests":          head + target + "testing: {suites: [{name: " + key + ", cases: []}, {name: " + key + ", cases: []}]}\n",
		"in a policy":       head + target + "policy: {pii-detector: {action: " + key + "}}\n",
		"in a wrong type":   head + target + "policy: {pii-detector: " + key + "}\n",
		"policy's own key":  head + target + "policy: {embedding-detector: {api_key: " + secret + "}, audit-logger: {token: " + secret + "}}\n",
		"in a list":         head + target + "policy: " + key + "\n",
		"not well-formed":   head + target + "      api_key: \"" + secret + "\n",
		"not well-formed 2": head + target + "      api_key: " + secret + "\n     x: [\n",
		"not well-formed 3": head + target + "      api_key: " + secret + ": " + secret + "\n",
		"not well-formed 4": head + target + "      x: \"" + key + "\\q\"\n",
		"not well-formed 5": head + target + "      api_key:\n        \"" + secret + "\\q\"\n",
		"second document":   head + target + "---\napi_key: " + secret + "\n",
		"control character": head + target + "      api_key: " + secret + "\x01\n",
		"bad UTF-8":         head + target + "      api_key: " + secret + "\xff\n",
		"a list at the top": "- api_key: " + secret + "\n",
		"a text at the top": key + "\n",
		"complex key":       head + target + "      ? {api_key: " + secret + "}\n      : {token: " + secret + "}\n",
		"plural":            head + target + "api_keys: [" + secret + ", " + secret + "]\n",
		"below":             head + target + "      api_key: {a: " + secret + ", b: [{c: " + secret + "}]}\n",
		"below, block":      head + target + "      credentials:\n        a: " + secret + "\n        b:\n          - " + secret + "\n",
		"below a ref":       head + target + "      secret_key_ref:\n        env:\n          value: " + secret + "\n",
		"auth":              head + target + "      auth: " + secret + "\n",
		"auth map":          head + target + "      auth: {user: " + secret + "}\n",
		"ref misspelt":      head + target + "      secret_key_rf: " + secret + "\n",
		"ref in camels":     head + target + "      secretKeyRef: " + secret + "\n      accessToken: " + secret + "\n",
		"query":             head + target + "      base_url: https://h.example/v1?api-key=0123456789\n",
		"query, other":      head + target + "      base_url: https://h.example/v1?x=0123456789\n",
		"fragment":          head + target + "      base_url: https://h.example/v1#0123456789\n",
		"user, no scheme":   head + target + "      base_url: user:" + secret + "@h\n",
		"user, a slash":     head + target + "      base_url: https://user:0/" + secret + "@h\n",
		"user, a tab":       head + target + "      base_url: \"https://user:a\\t" + secret + "@h\"\n",
		"path":              head + target + "      path_template: \"/x?key=0123456789\"\n",
		"path, code":        head + target + "      path_template: \"/x?v=1&code=0123456789\"\n",
		"own header":        head + target + "      headers: {x-my-auth: 0123456789abcdef}\n",
		"key header":        head + target + "      api_key_header: \"x-api-key: " + secret + "\"\n",
		"key prefix":        head + target + "      api_key_prefix: \"Bearer " + secret + "\"\n",
		"not well-formed 6": head + target + "      auth: " + secret + ": x\n",
		"not well-formed 7": head + target + "      base_url: user:" + secret + "@h: x\n",
		"directive":         "%password " + secret + "\n" + head + target,
		"merge key":         head + target + "      <<: {api_key: " + secret + "}\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfg, diags := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(text)}}, config.Options{})
			if cfg != nil && name != "in tests" {
				t.Error("the file was accepted")
			}
			asJSON, err := diags.JSON()
			if err != nil {
				t.Fatal(err)
			}
			var excerpts strings.Builder
			for _, d := range diags {
				excerpts.WriteString(d.Excerpt + "\n")
			}
			for _, shown := range []string{diags.Text(), string(asJSON), fmt.Sprint(diags.Err()), excerpts.String()} {
				for _, bad := range []string{"hunter2", "xyzzy", "0123456789"} {
					if strings.Contains(shown, bad) {
						t.Fatalf("%q is shown in:\n%s", bad, shown)
					}
				}
			}
		})
	}
}

// TestNoKeyOfTheSchemaIsTakenForASecret: a setting whose name says secret would
// be refused whatever stands there.
func TestNoKeyOfTheSchemaIsTakenForASecret(t *testing.T) {
	cfg, diags := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(head + `
providers:
  targets:
    - id: a
      provider: azure
      model: m
      base_url: https://h.example/@scope/v1
      path_template: "/x/{model}?api-version=2024-02-01&key={model}&v="
      api_key_header: X-Api-Key
      api_key_prefix: Token
      headers: {x-author: me, x-key-id-count: "3"}
      limits: {tokens_per_minute: 100}
      secret_key_ref: {env: SOME_API_KEY}
`)}}, config.Options{})
	if cfg == nil || len(diags) > 0 {
		t.Fatalf("refused:\n%s", diags.Text())
	}
}

func TestSecretsOfOneLayerNeverShowInAnother(t *testing.T) {
	files := []config.Source{
		{Name: "a.yaml", Data: []byte(head + "providers: {targets: [{id: a, provider: openai, model: m, api_key: hunter2-xyzzy}]}\n")},
		{Name: "b.yaml", Data: []byte("providers: {targets: [{id: a, modl: hunter2-xyzzy}], routing: {strategy: hunter2-xyzzy}}\n")},
	}
	_, diags := config.Load(files, config.Options{})
	if text := diags.Text(); !diags.HasErrors() || strings.Contains(text, "hunter2") {
		t.Errorf("shown:\n%s", text)
	}
}

func TestPatternsAndTestsMayQuoteKeys(t *testing.T) {
	cfg, diags := config.Load([]config.Source{{Name: "f.yaml", Data: []byte(`
pack: {name: x, version: 0.1.0}
providers: {targets: [{id: a, provider: openai, model: m}]}
policies: {chain: [pii-detector]}
policy: {pii-detector: {detect_patterns: ["sk-proj-abcdefghijklmnop"], redaction: {custom_markers: {password: "[gone]", token: label}}}}
testing: {suites: [{name: s, cases: [{name: c, input: {headers: {Authorization: "Bearer abcdefghijklmnop", token: x}, messages: [{role: user, content: "my key is sk-proj-abcdefghijklmnop"}]}}]}]}
`)}}, config.Options{})
	if cfg == nil {
		t.Fatalf("refused:\n%s", diags.Text())
	}
	if len(diags) != 0 {
		t.Errorf("diagnostics:\n%s", diags.Text())
	}
}

func TestSecretHidesItself(t *testing.T) {
	s := config.NewSecret("hunter2")
	type holder struct {
		S config.Secret
		P *config.Secret
	}
	h := holder{s, &s}
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", s, "h", slog.AnyValue(s))
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", s, "h", h)
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprint(h), fmt.Sprintf("%v %+v %#v %s %q %x %d %10.3s", s, s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v %s %x", h, h, h, h, h), string(j), log.String(), fmt.Errorf("x: %v", s).Error(),
	} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("shown: %s", shown)
		}
	}
	if s.Reveal() != "hunter2" || s.Empty() || !(config.Secret{}).Empty() {
		t.Error("the secret is lost")
	}
}

func TestResolveSaysWhyATargetIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "value-1\n", 0o600)
	write("crlf", "value-2\r\n", 0o400)
	write("open", "value-3", 0o640)
	write("empty", "\n", 0o600)
	write("two", "value\nvalue", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SET": "abc", "SPACED": "a b", "OPENAI_API_KEY": "usual", "GEMINI_API_KEY": "gem"}
	getenv := func(k string) string { return env[k] }
	store := config.FileStore{Dir: dir}
	usual := map[string]config.Usual{
		"openai":           {Env: []string{"OPENAI_API_KEY"}},
		"google-ai-studio": {Env: []string{"GOOGLE_API_KEY", "GEMINI_API_KEY"}},
		"groq":             {Env: []string{"GROQ_API_KEY"}},
		"ollama":           {Env: []string{"OLLAMA_API_KEY"}, Optional: true},
	}
	for name, c := range map[string]struct {
		target string
		store  config.SecretStore
		want   string
		code   diag.Code
	}{
		"env":             {target: "provider: openai, secret_key_ref: {env: SET}", want: "abc"},
		"env missing":     {target: "provider: openai, secret_key_ref: {env: NOT_SET}", code: diag.SecretMissing},
		"env unclean":     {target: "provider: openai, secret_key_ref: {env: SPACED}", code: diag.SecretUnclean},
		"usual":           {target: "provider: openai", want: "usual"},
		"second usual":    {target: "provider: google", want: "gem"},
		"usual missing":   {target: "provider: groq", code: diag.SecretMissing},
		"none needed":     {target: "provider: ollama"},
		"store":           {target: "provider: openai, secret_key_ref: {store: good}", store: store, want: "value-1"},
		"store, CRLF":     {target: "provider: openai, secret_key_ref: {store: crlf}", store: store, want: "value-2"},
		"store, mode":     {target: "provider: openai, secret_key_ref: {store: open}", store: store, code: diag.SecretFileMode},
		"store, empty":    {target: "provider: openai, secret_key_ref: {store: empty}", store: store, code: diag.SecretMissing},
		"store, lines":    {target: "provider: openai, secret_key_ref: {store: two}", store: store, code: diag.SecretUnclean},
		"store, folder":   {target: "provider: openai, secret_key_ref: {store: folder}", store: store, code: diag.SecretStore},
		"store, unknown":  {target: "provider: openai, secret_key_ref: {store: nope}", store: store, code: diag.SecretMissing},
		"store, upwards":  {target: "provider: openai, secret_key_ref: {store: ..}", store: store, code: diag.SecretStore},
		"no store":        {target: "provider: openai, secret_key_ref: {store: good}", code: diag.SecretStore},
		"store not there": {target: "provider: openai, secret_key_ref: {store: good}", store: config.FileStore{Dir: filepath.Join(dir, "x")}, code: diag.SecretStore},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := mustLoad(t, head+"providers: {targets: [{id: a, model: m, "+c.target+"}]}\n")
			s, diags := config.Resolve(cfg.Providers.Targets[0], usual[cfg.Providers.Targets[0].Provider], getenv, c.store)
			if s.Reveal() != c.want {
				t.Errorf("secret %q, want %q", s.Reveal(), c.want)
			}
			var want []string
			if c.code != "" {
				want = []string{string(c.code)}
			}
			if got := codes(diags); !slices.Equal(got, want) {
				t.Errorf("codes %v, want %v", got, want)
			}
			for _, d := range diags {
				if d.Severity != diag.Warning || d.Line != 3 || strings.Contains(diags.Text(), "value") {
					t.Errorf("diagnostic %+v", d)
				}
			}
		})
	}
}

func TestFileStoreRefusesAFolderOthersMayWrite(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := (config.FileStore{Dir: dir}).Secret("a"); !errors.Is(err, config.ErrSecretMode) {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "a\x00"} {
		if _, err := (config.FileStore{Dir: dir}).Secret(name); err == nil {
			t.Errorf("name %q is accepted", name)
		}
	}
}
