// Package all is the list of providers.
package all

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keeptrusts/kt/upstream/provider"
	"github.com/keeptrusts/kt/upstream/provider/azure"
)

const (
	basic = provider.Chat | provider.Stream | provider.Tools | provider.Models
	usual = basic | provider.Usage
	local = usual | provider.Embeddings
)

// Rows gives all providers, sorted by id. Base URLs and variable names are those
// of the providers' own documentation.
func Rows() []*provider.Row {
	rows := []*provider.Row{
		{ID: "openai", Name: "OpenAI", BaseURL: "https://api.openai.com", KeyEnv: env("OPENAI_API_KEY"),
			Caps: usual | provider.Embeddings | provider.Responses | provider.Audio | provider.Logprobs | provider.Vision},
		azure.Row(),
		{ID: "aimlapi", Name: "AI/ML API", BaseURL: "https://api.aimlapi.com", KeyEnv: env("AIMLAPI_API_KEY", "AIML_API_KEY"), Caps: usual | provider.Embeddings},
		{ID: "alibaba", Aliases: names("dashscope", "qwen"), Name: "Alibaba Cloud Model Studio", BaseURL: "https://dashscope-intl.aliyuncs.com/compatible-mode",
			KeyEnv: env("DASHSCOPE_API_KEY"), Caps: usual | provider.Embeddings | provider.Vision, Quirks: "the region is in base_url; the default is the international one"},
		{ID: "baseten", Name: "Baseten", BaseURL: "https://inference.baseten.co", KeyEnv: env("BASETEN_API_KEY"), Caps: usual},
		{ID: "cerebras", Name: "Cerebras", BaseURL: "https://api.cerebras.ai", KeyEnv: env("CEREBRAS_API_KEY"), Caps: usual},
		{ID: "cloudera", Name: "Cloudera AI Inference", KeyEnv: env("CDP_TOKEN"), Exact: true, Caps: usual, Quirks: "base_url is the contract, /v1 included"},
		{ID: "cloudflare-gateway", Name: "Cloudflare AI Gateway", KeyEnv: env("CLOUDFLARE_API_TOKEN"), Exact: true, Caps: usual,
			Quirks: "base_url is https://gateway.ai.cloudflare.com/v1/<account>/<gateway>/<provider>; the key is that provider's"},
		{ID: "cloudflare-workers-ai", Aliases: names("workers-ai"), Name: "Cloudflare Workers AI", KeyEnv: env("CLOUDFLARE_API_TOKEN"), Caps: basic | provider.Embeddings,
			Quirks: "base_url is https://api.cloudflare.com/client/v4/accounts/<account>/ai"},
		{ID: "cohere", Name: "Cohere (compatibility API)", BaseURL: "https://api.cohere.ai/compatibility", KeyEnv: env("COHERE_API_KEY", "CO_API_KEY"), Caps: usual | provider.Embeddings},
		{ID: "databricks", Name: "Databricks model serving", KeyEnv: env("DATABRICKS_TOKEN"), Exact: true, Caps: usual&^provider.Models | provider.Embeddings,
			Quirks: "base_url is https://<workspace>/serving-endpoints"},
		{ID: "deepinfra", Name: "DeepInfra", BaseURL: "https://api.deepinfra.com/v1/openai", Exact: true, KeyEnv: env("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"), Caps: usual | provider.Embeddings},
		{ID: "deepseek", Name: "DeepSeek", BaseURL: "https://api.deepseek.com", KeyEnv: env("DEEPSEEK_API_KEY"), Caps: usual, Quirks: "reasoning comes as reasoning_content; sends keep-alive comments while a request waits"},
		{ID: "fireworks", Aliases: names("fireworks-ai"), Name: "Fireworks AI", BaseURL: "https://api.fireworks.ai/inference", KeyEnv: env("FIREWORKS_API_KEY"), Caps: usual | provider.Embeddings | provider.Logprobs},
		{ID: "github-models", Aliases: names("github"), Name: "GitHub Models", BaseURL: "https://models.github.ai/inference", Exact: true, KeyEnv: env("GITHUB_TOKEN"), Caps: usual &^ provider.Models},
		{ID: "google-ai-studio", Aliases: names("google", "gemini"), Name: "Google AI Studio (compatibility API)", BaseURL: "https://generativelanguage.googleapis.com/v1beta/openai", Exact: true,
			KeyEnv: env("GOOGLE_API_KEY", "GEMINI_API_KEY"), Caps: usual | provider.Embeddings | provider.Vision, Quirks: "asked in OpenAI's form; the native form follows"},
		{ID: "groq", Name: "Groq", BaseURL: "https://api.groq.com/openai", KeyEnv: env("GROQ_API_KEY"), Caps: usual | provider.Audio},
		{ID: "huggingface", Aliases: names("hf"), Name: "Hugging Face Inference Providers", BaseURL: "https://router.huggingface.co", KeyEnv: env("HF_TOKEN"), Caps: usual},
		{ID: "hyperbolic", Name: "Hyperbolic", BaseURL: "https://api.hyperbolic.xyz", KeyEnv: env("HYPERBOLIC_API_KEY"), Caps: basic},
		{ID: "litellm", Name: "LiteLLM proxy", KeyEnv: env("LITELLM_API_KEY", "LITELLM_MASTER_KEY"), KeyOptional: true, Caps: local, Quirks: "base_url is the contract"},
		{ID: "llama-api", Aliases: names("llamaApi"), Name: "Llama API", BaseURL: "https://api.llama.com/compat", KeyEnv: env("LLAMA_API_KEY"), Caps: usual},
		{ID: "llama-cpp", Aliases: names("llamacpp", "llama.cpp"), Name: "llama.cpp server", BaseURL: "http://localhost:8080", KeyOptional: true, Local: true, Caps: local},
		{ID: "lm-studio", Aliases: names("lmstudio"), Name: "LM Studio", BaseURL: "http://localhost:1234", KeyOptional: true, Local: true, Caps: local},
		{ID: "localai", Name: "LocalAI", BaseURL: "http://localhost:8080", KeyEnv: env("LOCALAI_API_KEY"), KeyOptional: true, Local: true, Caps: local | provider.Audio},
		{ID: "mistral", Name: "Mistral AI", BaseURL: "https://api.mistral.ai", KeyEnv: env("MISTRAL_API_KEY"), Caps: basic | provider.Embeddings, Quirks: "usage comes with the last chunk of each stream, unasked"},
		{ID: "moonshot", Aliases: names("kimi"), Name: "Moonshot AI", BaseURL: "https://api.moonshot.ai", KeyEnv: env("MOONSHOT_API_KEY"), Caps: usual},
		{ID: "nvidia", Aliases: names("nvidia-nim", "nim"), Name: "NVIDIA NIM", BaseURL: "https://integrate.api.nvidia.com", KeyEnv: env("NVIDIA_API_KEY"), Caps: usual | provider.Embeddings},
		{ID: "ollama", Name: "Ollama", BaseURL: "http://localhost:11434", KeyOptional: true, Local: true, Caps: local, Quirks: "asked through its OpenAI-compatible endpoint"},
		{ID: "openllm", Name: "OpenLLM", BaseURL: "http://localhost:3000", KeyEnv: env("OPENLLM_API_KEY"), KeyOptional: true, Local: true, Caps: usual},
		{ID: "openrouter", Name: "OpenRouter", BaseURL: "https://openrouter.ai/api", KeyEnv: env("OPENROUTER_API_KEY"), Caps: usual,
			Quirks: "models are vendor/name; sends comments while it waits; errors in a stream carry the status as a number"},
		{ID: "perplexity", Name: "Perplexity", BaseURL: "https://api.perplexity.ai", Exact: true, KeyEnv: env("PERPLEXITY_API_KEY"), Caps: provider.Chat | provider.Stream},
		{ID: "sambanova", Name: "SambaNova", BaseURL: "https://api.sambanova.ai", KeyEnv: env("SAMBANOVA_API_KEY"), Caps: usual},
		{ID: "sglang", Name: "SGLang", BaseURL: "http://localhost:30000", KeyOptional: true, Local: true, Caps: local},
		{ID: "snowflake-cortex", Aliases: names("snowflake"), Name: "Snowflake Cortex", KeyEnv: env("SNOWFLAKE_TOKEN"), Caps: usual &^ provider.Models,
			Quirks: "base_url is https://<account>.snowflakecomputing.com/api/v2/cortex"},
		{ID: "together", Aliases: names("together-ai", "togetherai"), Name: "Together AI", BaseURL: "https://api.together.xyz", KeyEnv: env("TOGETHER_API_KEY"), Caps: usual | provider.Embeddings | provider.Logprobs},
		{ID: "truefoundry", Name: "TrueFoundry gateway", KeyEnv: env("TFY_API_KEY"), Exact: true, Caps: usual, Quirks: "base_url is the contract"},
		{ID: "vercel", Aliases: names("vercel-ai-gateway"), Name: "Vercel AI Gateway", BaseURL: "https://ai-gateway.vercel.sh", KeyEnv: env("AI_GATEWAY_API_KEY"), Caps: usual | provider.Embeddings},
		{ID: "vllm", Name: "vLLM", BaseURL: "http://localhost:8080", KeyEnv: env("VLLM_API_KEY"), KeyOptional: true, Local: true, Caps: local | provider.Logprobs, Quirks: "its usage chunk may say choices: null"},
		{ID: "xai", Aliases: names("grok"), Name: "xAI", BaseURL: "https://api.x.ai", KeyEnv: env("XAI_API_KEY"), Caps: usual},
		{ID: "zai", Aliases: names("zhipu", "bigmodel"), Name: "Z.ai", BaseURL: "https://api.z.ai/api/paas/v4", Exact: true, KeyEnv: env("ZAI_API_KEY"), Caps: usual &^ provider.Models},

		{ID: "anthropic", Name: "Anthropic", BaseURL: "https://api.anthropic.com", KeyEnv: env("ANTHROPIC_API_KEY"), AuthHeader: "x-api-key",
			Missing: "its own Messages API needs an adapter that is not built yet"},
		{ID: "aws-bedrock", Aliases: names("bedrock"), Name: "AWS Bedrock", KeyEnv: env("AWS_ACCESS_KEY_ID"), Missing: "its Converse API and request signing need an adapter that is not built yet"},
		{ID: "mcp", Name: "Model Context Protocol server", Missing: "tool servers are not built yet"},
	}
	slices.SortFunc(rows, func(a, b *provider.Row) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

func env(list ...string) []string { return list }

func names(list ...string) []string { return list }

// Lookup finds a provider by id or alias; case does not count and "_" is "-".
func Lookup(id string) (*provider.Row, error) {
	want := provider.Canonical(id)
	var ids []string
	for _, r := range Rows() {
		if r.ID == want || slices.ContainsFunc(r.Aliases, func(a string) bool { return provider.Canonical(a) == want }) {
			return r, nil
		}
		ids = append(ids, r.ID)
	}
	return nil, fmt.Errorf("find provider: must be one of %s; got %q", strings.Join(ids, ", "), id)
}
