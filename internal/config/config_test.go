package config_test

import (
	"os"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
	"github.com/keeptrusts/kt/internal/diag"
)

func load(t testing.TB, opt config.Options, texts ...string) (*config.Config, diag.List) {
	t.Helper()
	var files []config.Source
	for i, s := range texts {
		name := "policy-config.yaml"
		if i > 0 {
			name = "layer" + string(rune('0'+i)) + ".yaml"
		}
		files = append(files, config.Source{Name: name, Data: []byte(s)})
	}
	return config.Load(files, opt)
}

func quickStart(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/quick-launch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestQuickStartLoadsUnchanged(t *testing.T) {
	cfg, diags := load(t, config.Options{}, quickStart(t))
	if len(diags) != 0 {
		t.Fatalf("diagnostics:\n%s", diags.Text())
	}
	if cfg.Pack.Name != "quick-launch" || cfg.Pack.Version != "0.1.0" || !cfg.Pack.Enabled {
		t.Errorf("pack = %+v", cfg.Pack)
	}
	if len(cfg.Providers.Targets) != 1 {
		t.Fatalf("targets = %+v", cfg.Providers.Targets)
	}
	target := cfg.Providers.Targets[0]
	if target.ID != "openai-primary" || target.Provider != "openai" || target.Model != "gpt-5.4-mini" ||
		target.BaseURL != "https://api.openai.com" || target.SecretRef.Env != "OPENAI_API_KEY" || !target.Enabled {
		t.Errorf("target = %+v", target)
	}
	if len(cfg.Chain) != 2 || cfg.Chain[0].Kind != "prompt-injection" || cfg.Chain[1].Kind != "audit-logger" {
		t.Errorf("chain = %+v", cfg.Chain)
	}
	if got := cfg.Chain[0].Pos.String(); got != "policy-config.yaml:15:7" {
		t.Errorf("chain entry at %s", got)
	}
	if f, ok := cfg.Policy["prompt-injection"].Get("threshold").Float(); !ok || f != 0.8 {
		t.Errorf("threshold = %v %v", f, ok)
	}
	if cfg.Digest[:7] != "sha256:" || len(cfg.Digest) != 71 {
		t.Errorf("digest = %s", cfg.Digest)
	}
}
