# pivt's few verbs; "make help" explains them.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
DEVCLUSTER  := cd hack/devcluster && go run .
E2E_TIMEOUT ?= 85m
DEMO_NS     ?= fabric
FUZZTIME    ?= 10m

.DEFAULT_GOAL := help
.PHONY: help build test unit e2e bench bench-cluster fuzz lint generate verify demo cluster-up cluster-down images

help: ## Show these verbs
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## Build build/pivt
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/pivt ./cmd/pivt

test: unit ## Everything: unit and chart tests, then end to end on the dev cluster
	@$(MAKE) --no-print-directory cluster-up
	@set +e; $(MAKE) --no-print-directory e2e; status=$$?; \
	$(MAKE) --no-print-directory cluster-down >/dev/null 2>&1; exit $$status

unit: ## Tests that need no cluster
	go vet ./...
	go test ./...
	cd samples/chaincode/basic && go test ./...
	cd samples/chaincode/server && go test ./...
	cd samples/chaincode/private && go test ./...
	cd hack/devcluster && go vet ./... && go test ./...

# The packages whose fakes have to pass the same tests as the real thing.
REAL := ./pkg/depot ./pkg/pki ./pkg/configtx ./pkg/fabric/... ./pkg/step ./pkg/kube ./pkg/workflow ./pkg/runtime ./pkg/launcher ./pkg/ledger ./pkg/repository ./pkg/volume

# These have compilers take all of a small machine, one after the other, or patience would end first.
COMPILING := TestSources|TestLifecycle|TestCompileError
# These stop nodes of their networks, and wait for those to serve again.
STOPPING := TestBackup|TestBackupFaults

# Argo looks at a workflow again after ten seconds, whatever has happened in between; tests need not wait for that.
REQUEUE := kubectl -n argo set env deploy/workflow-controller
REQUEUED := kubectl -n argo rollout status deploy/workflow-controller --timeout 2m

e2e: build ## Tests on real nodes and on the dev cluster, which must be up
	@eval "$$($(DEVCLUSTER) env)"; export PIVT_E2E_BIN=$(CURDIR)/build/pivt PIVT_TEST_FABRIC_BIN="$$(dirname "$$(command -v peer)")"; \
	trap '$(REQUEUE) DEFAULT_REQUEUE_TIME- >/dev/null' EXIT; \
	$(REQUEUE) DEFAULT_REQUEUE_TIME=2s >/dev/null; $(REQUEUED) >/dev/null; \
	status=0; \
	go test -tags e2e -count=1 -p 1 -timeout $(E2E_TIMEOUT) $(REAL) || status=1; \
	go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -parallel 2 -v -skip '^($(COMPILING)|$(STOPPING))$$' ./cmd/pivt/e2e || status=1; \
	go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -parallel 1 -v -run '^($(COMPILING))$$' ./cmd/pivt/e2e || status=1; \
	go test -tags e2e -count=1 -timeout $(E2E_TIMEOUT) -parallel 2 -v -run '^($(STOPPING))$$' ./cmd/pivt/e2e || status=1; \
	exit $$status

bench: ## Time and size of rendering, of block checks and of saving, as in the README
	go test -run '^$$' -bench . -benchmem ./pkg/chart ./pkg/ledger
	go test -run '^$$' -bench . -benchtime 3x ./pkg/repository

bench-cluster: build ## Launches, transfers and the launcher's memory, on the dev cluster, which must be up
	@eval "$$($(DEVCLUSTER) env)"; export PIVT_E2E_BIN=$(CURDIR)/build/pivt; \
	go test -tags e2e -run '^$$' -bench . -benchtime 1x -timeout $(E2E_TIMEOUT) -p 1 -v ./pkg/runtime ./cmd/pivt/e2e | grep -E 'Benchmark|medians|^(ok|FAIL|PASS)'

fuzz: ## Ten minutes (FUZZTIME) for each fuzz target
	@for file in $$(grep -lr '^func Fuzz' --include='*_test.go' pkg | sort); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$file); do \
	    echo "$$file: $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x ./$$(dirname $$file); \
	  done; \
	done

lint: ## gofmt and go vet
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...

generate: ## Rewrite goldens and generated documentation
	go test $$(grep -lr 'flag.Bool("update"' --include='*_test.go' pkg cmd | xargs -n1 dirname | sort -u | sed 's|^|./|') -update

verify: generate ## Regenerate, and fail if anything differs
	git diff --exit-code

demo: build ## From nothing to a transaction on a real Fabric network in a real Kubernetes
	@$(DEVCLUSTER) up --project $(CURDIR)
	@eval "$$($(DEVCLUSTER) env)"; hack/demo build/pivt $(DEMO_NS)

cluster-up: ## Start the dev cluster, with the images that networks, builds and tests need
	@$(DEVCLUSTER) up --project $(CURDIR) --builders

cluster-down: ## Remove the dev cluster and everything it made
	@$(DEVCLUSTER) down

images: ## Rebuild pivt's own images and import them
	@$(DEVCLUSTER) images --project $(CURDIR) --builders
