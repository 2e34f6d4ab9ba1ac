# Two commands matter: `make run` starts Aforo on this machine, `make test` runs every test there is.
# Both install what is missing (Debian 12) and can be run as often as you like.

SHELL := /usr/bin/env bash
# Where everything below looks for what was built, whatever the caller's environment says.
export CARGO_TARGET_DIR := $(CURDIR)/target
.SHELLFLAGS := -euo pipefail -c

BUILD_PACKAGES := clang mold pkg-config
TEST_PACKAGES := $(BUILD_PACKAGES) chromium ffmpeg firefox-esr fonts-dejavu-core openssl python3-venv

# Seeds of the simulation in `make sim`, from number FIRST on; `make test` plays 200.
SEEDS ?= 500
FIRST ?= 0

# What `make fuzz` fuzzes, and for how long.
TARGET ?= sdp
FUZZ_SECONDS ?= 60

# Clients written in Python live here; Debian's own interpreter, as the lock file was made for its version.
VENV := target/clients

.PHONY: run build test bench figures fuzz sim lint client client-test real-clients packages test-packages

run: build
	exec target/release/aforo dev

build: packages client
	cargo build --release --bin aforo

# The ladder: what is fast and fails most often comes first. Always the whole workspace, so that cargo builds each
# dependency with one set of features and only once.
test: test-packages client lint client-test
	cargo test --workspace --lib
	cargo test --workspace --test '*'
	cd client-js && AFORO_BIN=../target/debug/aforo npm run --silent e2e
	$(MAKE) --no-print-directory real-clients

lint: packages
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

sim: packages
	AFORO_SIM_FIRST=$(FIRST) AFORO_SIM_SEEDS=$(SEEDS) cargo test --release --workspace --test simulation

# One parser (TARGETS in node/tests/corpora/targets.rs) under libFuzzer for a while. What it finds goes to target/fuzz/found:
# whatever crashes belongs into the corpus with its mending, of the rest the few smallest files that reach what no other does.
# SanitizerCoverage comes with the stable compiler; the address sanitizer, which does not, has little to find in safe Rust.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
fuzz: packages
	host=$$(rustc --version --verbose | sed -n 's/^host: //p'); cd node/fuzz; \
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --target $$host --target-dir ../../target/fuzz; \
	found=../../target/fuzz/found; mkdir -p $$found/$(TARGET); \
	AFORO_FUZZ_TARGET=$(TARGET) ../../target/fuzz/$$host/release/aforo-fuzz -max_total_time=$(FUZZ_SECONDS) \
		-max_len=4096 -artifact_prefix=$$found/$(TARGET)- $$found/$(TARGET) corpus/$(TARGET)

# Every figure of docs/benchmarks, beside its reference from the same run.
bench: build
	cargo bench --workspace --bench fanout --bench join
	AFORO_BIN=$(CURDIR)/target/release/aforo cargo bench --workspace --bench node

# What viewers in a browser notice, over a path with delay, loss and a bottleneck; each held to its bound.
figures: build test-packages $(VENV)/installed
	cd client-js && AFORO_BIN=../target/release/aforo npm run --silent figures

client: client-js/dist/index.html

# Only when a page has changed: the binary holds the pages and is compiled anew with them. A directory changes when a file in
# it is deleted.
client-js/dist/index.html: client-js/node_modules/.package-lock.json $(wildcard client-js/*.html client-js/*.json client-js/*.ts) \
		$(shell find client-js/src)
	cd client-js && npm run --silent build

client-test: client
	cd client-js && npm run --silent lint && npm test --silent

# aiortc and FFmpeg 9 against the binary that `make test` has built.
real-clients: $(VENV)/installed
	AFORO_BIN=$(CURDIR)/target/debug/aforo $(VENV)/bin/python -B -m unittest discover --start-directory node/tests/clients

$(VENV)/installed: node/tests/clients/requirements.txt | test-packages
	/usr/bin/python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --require-hashes --only-binary :all: --requirement $<
	touch $@

client-js/node_modules/.package-lock.json: client-js/package-lock.json
	cd client-js && npm ci --silent
	touch $@

packages:
	@.ci/install $(BUILD_PACKAGES)

test-packages:
	@.ci/install $(TEST_PACKAGES)
