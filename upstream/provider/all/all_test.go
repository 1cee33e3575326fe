package all_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/upstream"
	"github.com/keeptrusts/kt/upstream/provider"
	"github.com/keeptrusts/kt/upstream/provider/all"
	"github.com/keeptrusts/kt/upstream/providertest"
)

func TestTranscripts(t *testing.T) {
	for _, p := range []struct{ id, basePath string }{
		{"openai", ""}, {"azure", ""}, {"openrouter", "/api/v1"}, {"vllm", "/v1"}, {"deepseek", ""}, {"mistral", "/v1"},
		{"groq", "/openai/v1"}, {"ollama", ""}, {"perplexity", ""},
	} {
		row, err := all.Lookup(p.id)
		if err != nil {
			t.Fatal(err)
		}
		providertest.Run(t, row, p.basePath, "testdata/"+p.id+"-*.txtar")
	}
}

// TestRowsAreUsable checks the table: ids and aliases are unique and canonical,
// base URLs make targets, local providers are on loopback.
func TestRowsAreUsable(t *testing.T) {
	seen := map[string]string{}
	usable := 0
	for _, r := range all.Rows() {
		for _, id := range append([]string{r.ID}, r.Aliases...) {
			id = provider.Canonical(id)
			if seen[id] != "" {
				t.Errorf("%s is the name of both %s and %s", id, seen[id], r.ID)
			}
			seen[id] = r.ID
		}
		if r.ID != provider.Canonical(r.ID) || r.Name == "" {
			t.Errorf("%s: id or name", r.ID)
		}
		if r.Missing != "" {
			continue
		}
		usable++
		if !r.Caps.Has(provider.Chat | provider.Stream) {
			t.Errorf("%s: %s", r.ID, r.Caps)
		}
		if !r.KeyOptional && len(r.KeyEnv) == 0 {
			t.Errorf("%s needs a key and names no variable", r.ID)
		}
		base := r.BaseURL
		if base == "" {
			if r.Quirks == "" {
				t.Errorf("%s has no base URL and does not say what it must be", r.ID)
			}
			base = "https://configured.example.com/path"
		}
		u, err := url.Parse(base)
		if err != nil || (u.Scheme == "https") == r.Local {
			t.Errorf("%s: %s", r.ID, base)
		}
		tg := &upstream.Target{ID: "t", Provider: r, BaseURL: base, Model: "m", AllowPrivate: r.Local}
		if err := tg.Check(); err != nil {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
	if usable < 25 {
		t.Errorf("%d providers", usable)
	}
	for _, id := range strings.Fields(`openai azure-openai azure groq cerebras mistral together fireworks deepseek xai openrouter ollama vllm openllm localai litellm
		databricks cloudflare-gateway cloudera truefoundry alibaba aimlapi llamaApi google google-ai-studio anthropic aws-bedrock bedrock perplexity mcp`) {
		if _, err := all.Lookup(strings.ToUpper(strings.ReplaceAll(id, "-", "_"))); err != nil {
			t.Error(err)
		}
	}
	if _, err := all.Lookup("opnai"); err == nil || !strings.Contains(err.Error(), "openai") {
		t.Error(err)
	}
	if !slices.IsSortedFunc(all.Rows(), func(a, b *provider.Row) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not sorted")
	}
}

func TestParseID(t *testing.T) {
	for _, c := range []struct{ in, id, kind, model string }{
		{"openai", "openai", "", ""},
		{"OpenRouter:chat:openai/gpt-5", "openrouter", "chat", "openai/gpt-5"},
		{"openllm:chat:llama3:8b-instruct", "openllm", "chat", "llama3:8b-instruct"},
		{"google_ai_studio:embedding:e", "google-ai-studio", "embedding", "e"},
	} {
		id, kind, model, err := provider.ParseID(c.in)
		if err != nil || id != c.id || kind != c.kind || model != c.model {
			t.Errorf("%s: %s %s %s %v", c.in, id, kind, model, err)
		}
	}
	for _, bad := range []string{"", ":chat:x", "openai:chat", "openai:chat:", "openai:image:x"} {
		if _, _, _, err := provider.ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
