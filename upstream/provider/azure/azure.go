// Package azure is Azure OpenAI: OpenAI's wire form under a path that names a
// deployment and a query that names the API version. The key goes into the
// header api-key. A content filter answers 400 with the code content_filter, or
// ends a choice with finish_reason content_filter; both are the client's to see.
// The first event of a stream has no choice but prompt_filter_results.
package azure

import (
	"strings"

	"github.com/keeptrusts/kt/upstream/provider"
)

// Row gives the provider's row.
func Row() *provider.Row {
	return &provider.Row{
		ID: "azure-openai", Aliases: []string{"azure"}, Name: "Azure OpenAI",
		KeyEnv: []string{"AZURE_OPENAI_API_KEY", "AZURE_API_KEY"}, AuthHeader: "api-key",
		Template: template, APIVersion: "2024-02-01",
		Caps:   provider.Chat | provider.Stream | provider.Tools | provider.Usage | provider.Embeddings | provider.Audio | provider.Logprobs | provider.Vision,
		Quirks: "base_url is https://<resource>.openai.azure.com, with or without /openai/deployments/<name>; the model is chosen by azure_deployment (default: model)",
	}
}

// template leaves out what base_url already says.
func template(basePath string) string {
	const query = "?api-version={version}"
	switch {
	case strings.Contains(basePath, "/openai/deployments/"):
		return "{path}" + query
	case strings.HasSuffix(basePath, "/openai"):
		return "/deployments/{deployment}{path}" + query
	}
	return "/openai/deployments/{deployment}{path}" + query
}
