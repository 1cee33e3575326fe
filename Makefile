# Every target in a line: make help
GO       ?= go
BIN      := bin/kt
TOOLS    := -modfile=internal/tools/go.mod
FUZZTIME ?= 3s
KT_EVAL_DATA ?= ../shared/data/detection
# Flags of what CI runs, the same ones everywhere, so that a package is compiled once: with the profile of cmd/kt, all
# that kt imports would be compiled a second time, and kt build, which a test runs, trims paths.
CIFLAGS  := $(shell $(GO) env GOFLAGS) -pgo=off -trimpath
# Packages, those that take longest first: at the end of the list they would leave a core idle.
ALL      := ./pipeline/scan ./pipeline/difftest ./gen ./...
# Tables that tests build, kept by the sources of what builds them and by the version of Go: each set is built once, not in
# every test binary, and not under the race detector, where that takes eight times as long in one goroutine.
TABLES   := $(CURDIR)/bin/tables/$(shell { $(GO) env GOVERSION; cat go.mod pipeline/*.go pipeline/plan/*.go pipeline/scan/*.go pipeline/scan/data/*; } | cksum | tr ' ' -)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-zA-Z0-9_-]+:.*## /{printf "  %-18s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## show the main job: clean call, blocked call, redacted stream (KEEP=1 leaves it running)
	@$(BIN) demo $(if $(KEEP),--keep)

.PHONY: demo-failover
demo-failover: build ## show a target dying while the client does not notice
	@$(BIN) demo failover

test race invariants: export KT_TEST_TABLES := $(TABLES)
test race invariants: export KT_BENCH_CACHE := $(TABLES)
test vet staticcheck gen-check race invariants fuzz gate: export GOFLAGS := $(CIFLAGS)

.PHONY: test
test: ## run all tests
	@find bin/tables -mindepth 1 -maxdepth 1 ! -path '*/$(notdir $(TABLES))' -exec rm -rf {} + 2>/dev/null || true
	$(GO) test $(ALL)

.PHONY: build
build: ## build bin/kt
	@$(GO) build -trimpath -o $(BIN) ./cmd/kt

.PHONY: pgo
pgo: build ## record a CPU profile of the gateway under load: cmd/kt/default.pgo, which the next build uses
	$(GO) run ./bench/lean pgo -kt $(BIN) -out cmd/kt/default.pgo

.PHONY: gen
gen: ## regenerate all generated files
	$(GO) generate ./...

.PHONY: gen-check
gen-check: ## fail when a generated file is stale
	$(GO) run ./gen/ktgen all -check -root .

.PHONY: vet
vet: ## go vet, and that gofmt has nothing to change
	$(GO) vet ./...
	@list=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) || exit 1; [ -z "$$list" ] || { echo "not as gofmt writes it (gofmt -w FILE):"; echo "$$list"; exit 1; }

.PHONY: staticcheck
staticcheck: ## staticcheck over the main module
	$(GO) tool $(TOOLS) staticcheck ./...

.PHONY: check
check: vet staticcheck gen-check race invariants fuzz gate ## everything CI runs after the tests (layers are a test)

.PHONY: race
race: ## the suite under the race detector, but for packages that run one goroutine (vet is a target of its own)
	$(GO) test -race -short -vet=off -timeout 20m $$($(GO) list $(ALL) | grep -vE '/(gen|gen/ktgen|examples|bench/eval)$$')

.PHONY: invariants
invariants: ## the suite with invariant checks and poisoned buffers
	$(GO) test -tags invariants -short -vet=off $(ALL)

.PHONY: fuzz
fuzz: ## each fuzz target for a few seconds (FUZZTIME=3s)
	internal/tools/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: ## whole-path benchmarks over recorded streams
	$(GO) test -run '^$$' -bench . -benchmem ./bench/...

.PHONY: gate
gate: ## benchmark gate: allocations by table, time against the base commit
	$(GO) run ./bench/gate

.PHONY: gate-selftest
gate-selftest: ## show that the gate fails on a planted slowdown and a planted allocation
	bench/gate/selftest.sh

.PHONY: results
results: build ## measure everything again: bench/RESULTS.md and the README's table
	$(GO) run ./bench/results

.PHONY: load
load: build ## k6 load tests, short profile: loadtest/out/report.html (PROFILE=full for all)
	$(GO) run ./loadtest/load -profile $(or $(PROFILE),short)

.PHONY: dashboards
dashboards: ## regenerate deploy/grafana and deploy/prometheus from the metric table
	$(GO) run ./loadtest/dashboards

.PHONY: dashboards-check
dashboards-check: build ## every dashboard query and alert rule, parsed, unit-tested and run live
	loadtest/dashboards/check.sh

.PHONY: eval
eval: ## run the detectors over the labelled sets (KT_EVAL_DATA=DIR)
	$(GO) run ./bench/eval -data $(KT_EVAL_DATA)

.PHONY: test-clients
test-clients: build ## official OpenAI clients (Go and npm) through the gateway
	cd loadtest/clients && npm ci --silent && KT_NODE=1 $(GO) test -count=1 ./...
