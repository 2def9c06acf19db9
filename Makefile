# Everything is done through these targets; CI runs the same ones.

.DEFAULT_GOAL := help
.PHONY: help build run deps quick test long check format gen gen-clean vet staticcheck arch tidy

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long make long runs each target.
T           ?= 1m
SOAK        ?= 3m
# SKIPS=forbidden: a skipped test fails the run.
SKIPS       ?= allowed
FLAGS       := $(if $(filter forbidden,$(SKIPS)),-no-skips)

help: ## lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) $(if $(wildcard bench/run),,| grep -v '^  make bench ')

build: ## builds ./bin/warder
	CGO_ENABLED=0 go build -trimpath -o bin/warder ./cmd/warder

run: build ## a gateway, a backend and tokens on localhost, to try
	./bin/warder quickstart

deps: ## installs what the tests need and is missing
	@scripts/deps

quick: ## unit and scenario tests, under 30 s warm
	go run ./scripts/testreport ./internal/... ./cmd/... ./scripts/... .

test: deps ## every test short enough for CI; counts on the last line
	go run ./scripts/testreport $(FLAGS) -race ./internal/... -- -count=1 -timeout=10m ./...

long: deps ## by hand: every fuzz target for T (default 1m), h2spec, slow clients, bodies of 2 GiB, 100 kills per store, a million keys, checks of tokens taken out one by one, a soak of SOAK (default 3m)
	@scripts/fuzz $(T)
	@scripts/deps --long
	go test -tags long -run '^Test(H2Spec|SlowClients)' -count=1 -timeout 20m -v ./test/wire
	go test -tags long -run '^TestLargeBodies' -count=1 -timeout 1h -v ./internal/gateway
	go test -run '^TestAKilledProcess' -count=1 -timeout 20m ./internal/store -kills 100
	go test -run '^TestManyKeys' -count=1 -timeout 20m -v ./internal/directory -many 1000000
	go run ./scripts/mutate ./internal/policy/jwt ./internal/tokens
	go test -tags long -run '^TestSoak$$' -count=1 -timeout 1h -v ./test/e2e -soak $(SOAK)

check: format gen-clean tidy vet staticcheck arch ## all but the tests: formats, generated files, lint, house rules, docs

format: ## every Go file is gofmt-ed
	@bad="$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))"; [ -z "$$bad" ] || { echo "run gofmt -w on:"; echo "$$bad"; exit 1; }

gen: ## writes the generated files again
	@scripts/gen .

gen-clean: ## the generated files are what make gen writes
	@scripts/gen --check

tidy: ## go.mod and go.sum say what the code imports
	go mod tidy -diff

vet: ## go vet
	go vet ./...

staticcheck: ## staticcheck, at a pinned version
	go run $(STATICCHECK) ./...

arch: ## the rules of the house: layers, package comments, links in the docs
	go test -count=1 .

ifneq ($(wildcard bench/run),)
.PHONY: bench
bench: build ## compares the request path with other gateways
	bench/run
endif
