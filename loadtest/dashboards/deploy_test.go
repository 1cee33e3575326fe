package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func deployFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at follows keys and indexes into parsed YAML.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[k] == nil {
				t.Fatalf("nothing at %v", path)
			}
			v = m[k]
		case int:
			l, ok := v.([]any)
			if !ok || len(l) <= k {
				t.Fatalf("nothing at %v", path)
			}
			v = l[k]
		}
	}
	return v
}

func TestKubernetesManifestsSayWhatTheDocumentPromises(t *testing.T) {
	docs := map[string]any{}
	dec := yaml.NewDecoder(bytes.NewReader(deployFile(t, "kubernetes/kt.yaml")))
	for {
		var v map[string]any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		docs[v["kind"].(string)+" "+at(t, v, "metadata", "name").(string)] = v
	}
	set := docs["StatefulSet kt"]
	pod := at(t, set, "spec", "template", "spec")
	kt := at(t, pod, "containers", 0)
	for _, c := range []struct {
		got, want any
	}{
		{at(t, docs["Service kt"], "spec", "type"), "ClusterIP"},
		{at(t, docs["Service kt"], "spec", "ports", 0, "port"), 41002},
		{at(t, kt, "ports", 0, "containerPort"), 41002},
		{at(t, kt, "ports", 0, "name"), "http"},
		{at(t, kt, "livenessProbe", "httpGet", "path"), "/healthz"},
		{at(t, kt, "livenessProbe", "initialDelaySeconds"), 5},
		{at(t, kt, "livenessProbe", "periodSeconds"), 10},
		{at(t, kt, "readinessProbe", "httpGet", "path"), "/readyz"},
		{at(t, kt, "readinessProbe", "initialDelaySeconds"), 10},
		{at(t, kt, "readinessProbe", "periodSeconds"), 5},
		{at(t, kt, "readinessProbe", "failureThreshold"), 3},
		{at(t, kt, "resources", "requests", "cpu"), "250m"},
		{at(t, kt, "resources", "requests", "memory"), "256Mi"},
		{at(t, kt, "resources", "limits", "cpu"), "1"},
		{at(t, kt, "resources", "limits", "memory"), "512Mi"},
		{at(t, kt, "securityContext", "readOnlyRootFilesystem"), true},
		{at(t, kt, "securityContext", "capabilities", "drop", 0), "ALL"},
		{at(t, pod, "securityContext", "runAsNonRoot"), true},
		{at(t, kt, "volumeMounts", 0, "mountPath"), "/etc/keeptrusts"},
		{at(t, docs["HorizontalPodAutoscaler kt"], "spec", "minReplicas"), 2},
		{at(t, docs["HorizontalPodAutoscaler kt"], "spec", "maxReplicas"), 10},
		{at(t, docs["HorizontalPodAutoscaler kt"], "spec", "scaleTargetRef", "kind"), "StatefulSet"},
		{at(t, docs["NetworkPolicy kt"], "spec", "ingress", 0, "ports", 0, "port"), 41002},
		{at(t, pod, "volumes", 0, "configMap", "name"), "kt-policy"},
		{at(t, kt, "envFrom", 0, "secretRef", "name"), "kt-keys"},
		{at(t, set, "spec", "serviceName"), "kt-pods"},
	} {
		if c.got != c.want {
			t.Errorf("%v; want %v", c.got, c.want)
		}
	}
	// Drain (30 s) and the wait before it must fit into the grace period.
	if s := at(t, pod, "terminationGracePeriodSeconds").(int); s <= 35 {
		t.Errorf("grace period %d s", s)
	}
	label := at(t, set, "spec", "template", "metadata", "labels", "app.kubernetes.io/name")
	for _, name := range []string{"Service kt", "Service kt-pods"} {
		if got := at(t, docs[name], "spec", "selector", "app.kubernetes.io/name"); got != label {
			t.Errorf("%s selects %v", name, got)
		}
	}
	var policy map[string]any
	if err := yaml.Unmarshal([]byte(at(t, docs["ConfigMap kt-policy"], "data", "policy-config.yaml").(string)), &policy); err != nil || len(at(t, policy, "policies", "chain").([]any)) != 3 {
		t.Errorf("the policy in the ConfigMap: %v", err)
	}
}

func TestDockerfileRunsWithoutRoot(t *testing.T) {
	f := string(deployFile(t, "docker/Dockerfile"))
	for _, want := range []string{"FROM debian:bookworm-slim\n", "USER 65532:65532\n", "EXPOSE 41002\n", `ENTRYPOINT ["kt"]`, "/etc/keeptrusts/policy-config.yaml", "--read-only"} {
		if !strings.Contains(f, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.LastIndex(f, "\nUSER ") < strings.LastIndex(f, "\nRUN ") {
		t.Error("root runs something behind USER")
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	v := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(mod)
	if v == nil || !strings.Contains(f, "golang:"+string(v[1])+"-") {
		t.Errorf("the image does not build with the Go of go.mod (%s)", v)
	}
}

func TestUnitIsHardened(t *testing.T) {
	f := string(deployFile(t, "systemd/kt.service"))
	for _, want := range []string{"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "LimitNOFILE=65536", "CapabilityBoundingSet=\n", "StateDirectory=keeptrusts", "KEEPTRUSTS_GATEWAY_LISTEN=127.0.0.1:41002"} {
		if !strings.Contains(f, want) {
			t.Errorf("no %s", want)
		}
	}
}
