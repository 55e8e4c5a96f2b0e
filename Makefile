# Everything a person or CI runs here; `make help` lists it. Needs Go and make, and npm for the AWS stack.

GO       ?= go
STEPS    ?= 1000000
FUZZTIME ?= 1m
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

BINARIES = cluster-exporter=./cluster-exporter kube-iam-assume-standalone=./functions/standalone kube-iam-assume=./cli
PACKAGES = $(foreach binary,$(BINARIES),$(lastword $(subst =, ,$(binary))))

# The packages where goroutines meet run under the race detector, where the machine has the C compiler it needs. Not so the
# exploration of publish: it lets one goroutine run at a time, and would take ten times as long.
CONCURRENT = /(shared|cluster-exporter|functions)(/|$$)
EXPLORING  = ^Test(Exploration|TwoPublishers|ThreePublishers|Mutants)
RACE       = $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
TEST       = $(GO) test -timeout 20m

# The packages that start real API servers.
KUBE = $(addsuffix /...,$(wildcard ./test/kube ./test/e2e ./test/chart ./cli/doctor ./cli/rotation ./test/docs))

# The minors of Kubernetes besides the newest, and what has to hold on them.
OLDER_KUBE  = $(notdir $(wildcard test/kube/versions/*))
ON_ANY_KUBE = ./test/kube/... ./test/chart/... ./test/e2e ./cli/doctor ./cli/rotation

# Modules of their own, with code of ours. The others below test/ only pin what is built for tests.
NESTED = cdk deploy/release deploy/terraform/validate/cel test/kube/signer test/observability

export GO VERSION FUZZTIME NESTED

.DEFAULT_GOAL := help
.PHONY: help demo test test-kube kube-versions cdk-test e2e-aws sim fuzz bench check lint fmt build dist go modules kube kubeadm aws gcp azure vault chart chart-test doctor-test observability-test release images first-install terraform-test terraform-validate run-gcp e2e-gcp e2e-azure e2e-clouds e2e-vault

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: build ## the whole path on this machine in under two minutes; KUBECONFIG=... uses your own cluster
	@./bin/kube-iam-assume demo

test: go modules ## every test, with a real kube-apiserver (built and cached the first time: several minutes)
	@$(MAKE) --no-print-directory kube kubeadm aws gcp azure chart
	@$(TEST) $(RACE) $$($(GO) list ./... | grep -E '$(CONCURRENT)' | grep -v '/shared/publish$$')
	@$(TEST) $(RACE) -skip '$(EXPLORING)' ./shared/publish
	@$(TEST) -run '$(EXPLORING)' ./shared/publish
	@$(TEST) $$($(GO) list ./... | grep -vE '$(CONCURRENT)')
	@$(MAKE) --no-print-directory observability-test cdk-test e2e-aws

check: lint build test ## what CI runs: lint, build and test

test-kube: go kube kubeadm chart ## only the tests against real API servers
	$(TEST) -count=1 -v $(KUBE)

kube-versions: go chart ## the tests with real API servers on other minors of Kubernetes (built the first time: some minutes each)
	@for minor in $(OLDER_KUBE); do echo "Kubernetes $$minor"; \
		KUBERNETES=$$minor $(MAKE) --no-print-directory kube && KUBERNETES=$$minor $(TEST) -count=1 $(ON_ANY_KUBE) || exit 1; done

cdk-test: go ## the AWS stack: settings, security guards, order of deploy, templates
	@.ci/npm cdk
	@cd cdk && ../.ci/modules ./...
	@echo "Testing the AWS stack (the first time the AWS CDK is compiled: some minutes) ..."
	@cd cdk && PATH="$$PWD/node_modules/.bin:$$PATH" $(TEST) -count=1 ./... # not from the cache, which does not see files of other modules

e2e-aws: go kube aws ## the real cdk deploy, API servers, exporter and a pod, against stand-ins under AWS's own names (Linux)
	@.ci/npm cdk
	@cd cdk && ../.ci/modules ./...
	@$(TEST) -count=1 -tags e2e_aws ./test/aws/cloudformation/... ./test/e2e/aws

run-gcp: go gcp ## the function for Google Cloud on this machine, with requests to try
	@$(GO) run ./test/gcp/run

e2e-gcp: go kube gcp ## Google Cloud: real API servers and exporter, the function's binary, Cloud Storage played by fake-gcs-server
	$(TEST) -count=1 -v ./test/e2e/gcp

e2e-azure: go kube azure ## Azure: the same with the function behind a host of its own, Blob Storage played by Azurite
	$(TEST) -count=1 -v ./test/e2e/azure

e2e-clouds: go kube aws gcp azure ## one exporter, three publishers, three clouds' stores, one rotation
	$(TEST) -count=1 -v ./test/e2e/clouds

chart-test: go kube chart ## the Helm chart: rendered, applied to a real API server, and run as its service accounts (Linux)
	$(TEST) -count=1 -v ./test/chart/...

doctor-test: go kube ## doctor: some 120 set-ups, each broken in its way, some of them real API servers
	$(TEST) -count=1 -v ./cli/doctor

first-install: go kube aws chart ## docs/aws.md followed step by step on the test bench, counted and timed (Linux; needs jq)
	@.ci/npm cdk
	@cd cdk && ../.ci/modules ./...
	@.ci/modules ./...
	$(TEST) -count=1 -v -tags e2e_aws -run TestFirstInstall ./test/firstinstall

observability-test: go ## alerts, dashboard and runbook, by Prometheus' own engine (compiled the first time: a minute or two)
	@cd test/observability && ../../.ci/modules ./... && $(TEST) ./...

terraform-test: go ## the Terraform modules: guards, and what the terraform command (1.9 or newer) says of the modules without a provider
	$(TEST) -count=1 -tags terraform ./deploy/terraform
	cd deploy/terraform/validate/cel && $(GO) test -count=1 ./...

terraform-validate: go ## the Azure modules by terraform and its real provider, which is built the first time (ten minutes)
	@deploy/terraform/validate/run

e2e-vault: go kube vault ## a real Vault (built the first time: some minutes): set up, rotation, revocation and the flush that it needs
	$(TEST) -count=1 -v -tags e2e_vault ./test/e2e/vault

sim: go ## the long simulation: STEPS=1000000 random steps against the oracle
	STEPS=$(STEPS) $(GO) test -timeout 0 -count=1 -v -run TestLongSimulation ./test/sim

fuzz: go ## every fuzz target, FUZZTIME=1m each
	@.ci/fuzz ./...

bench: go kube ## benchmarks, as a table with ratios
	@$(GO) test -run '^$$' -bench . -timeout 0 ./test/bench | $(GO) run ./test/bench/table

lint: go modules ## gofmt, go mod tidy, go vet and golangci-lint (built and cached the first time)
	@.ci/lint

fmt: go ## format the source as lint expects it
	@"$$(.ci/linter)" fmt ./...

build: go ## the binaries, into ./bin
	@.ci/modules $(PACKAGES)
	@.ci/build $(BINARIES)

dist: go ## what is deployed, into ./dist: the functions' packages, byte for byte reproducible
	@.ci/modules ./functions/...
	@.ci/dist

release: go ## what is released, into ./dist/release: programs, packages, chart, bill of materials, checksums; VERSION=v1.2.3
	@.ci/modules ./cli ./cluster-exporter ./functions/...
	@cd deploy/release && ../../.ci/modules ./...
	@.ci/release

images: go chart ## the images' Dockerfile, checked as far as it can be without an engine
	$(TEST) -count=1 -run 'TestImages|TestChartRunsTheImages|TestRefusals' ./test/release

go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install $$(awk '$$1 == "go" { print "Go " $$2 }' go.mod) or newer from https://go.dev/dl/" >&2; exit 1; }
	@$(GO) list -m >/dev/null 2>&1 || { echo "$$($(GO) version) is too old: install $$(awk '$$1 == "go" { print "Go " $$2 }' go.mod) or newer from https://go.dev/dl/" >&2; exit 1; }

modules:
	@.ci/modules ./...
	@for module in $(NESTED); do (cd $$module && "$(CURDIR)/.ci/modules" ./...) || exit 1; done

kube kubeadm chart aws gcp vault:
	@$(GO) run ./test/fromsource/build $@

azure:
	@$(GO) run ./test/azure/build
