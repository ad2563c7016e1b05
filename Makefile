# SPDX-License-Identifier: MIT OR Apache-2.0

# What a bare Debian or Ubuntu lacks to build,
BUILD_PACKAGES := clang gcc libc6-dev make pkg-config libelf-dev zlib1g-dev
# and to make namespaces with traffic in them, which takes root anyway.
LAB_PACKAGES := iproute2 libcap2-bin nftables
LINT_PACKAGES = clang-format $(UNIT_PACKAGES)
# Not to be running: to look at a unit, and to run one in namespaces.
UNIT_PACKAGES := systemd
# What the benches are held against.
BENCH_PACKAGES := bpftrace linux-perf
MATRIX_PACKAGES := debian-archive-keyring kmod xz-utils zstd
# To build a kernel: tests/kernels/patches.
KERNEL_PACKAGES := bc bison dwarves flex patch perl

# To build with the feature `vendored` of libbpf-rs, which requires no libelf.
VENDORED_PACKAGES := autoconf automake autopoint bison flex gawk

# Every feature of the SDK.
FEATURES := --features retrans-sdk/full,retrans-sdk/test-util
# The same for the whole workspace, with `retrans demo`.
WORKSPACE_FEATURES := --all-features

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
# Has cargo run what it built as root.
AS_ROOT := $(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER="$(SUDO) -E")

CAN_BE_ROOT := [ -z "$(SUDO)" ] || $(SUDO) true
# The command `retrans` with `retrans demo`: built and run, unless CLI names a program that is built already.
CLI ?= cargo run --locked --release --quiet --package retrans-cli --features demo --
DEMO = $(CLI) demo $(if $(filter required,$(LIVE)),--live)
# As root, where CLI is a program and not cargo, which has a runner.
DEMO_AS_ROOT = $(if $(filter cargo,$(firstword $(CLI))),$(AS_ROOT),$(SUDO)) $(DEMO)

# `make test LIVE=required` fails where the live tests cannot run.
LIVE ?= if-possible
# What `make header-check` holds the tables against, besides the built object and the running kernel.
KERNEL_SRC ?= /usr/include

.PHONY: help
help:
	@echo "make demo          see it work: retransmissions and their results, in namespaces of its own"
	@echo "make test          every test, the live ones with sudo"
	@echo "make bench         what an event costs, in the kernel and outside, against the bars; as root (BENCHES=… for some)"
	@echo "make soak          every outcome 50 times (RUNS=…) with all CPUs busy; as root"
	@echo "make recording     makes anew what the demo replays without root"
	@echo "make matrix        boots a list of kernels, runs the lab, the live tests and the demo in each, and records the results (KERNELS=…)"
	@echo "make matrix-check  checks the recorded results and names the stale rows; make matrix-release-check fails with a stale row"
	@echo "make matrix-gate   boots the oldest kernel and one by rotation, and fails if the results differ from the recorded ones"
	@echo "make fresh-machines  the README's commands on bare systems (SUITES=…)"
	@echo "make lint          formatting, clippy, documentation, warnings denied"
	@echo "make header-check  the tables against the kernel's headers (KERNEL_SRC=… for a tree of yours)"
	@echo "make deny          licences and sources of all dependencies"
	@echo "make package       both crates as they would be published, each built alone"
	@echo "make outside       the SDK as a dependency by path, by git and as it would be published; each built and run"
	@echo "make vendored      builds with libelf and zlib linked statically, where neither is installed; as root"
	@echo "make unit          has systemd run docs/retrans-agent.service, in namespaces; as root"
	@echo "make public-api    writes down what is public; make public-api-check says what has changed"
	@echo "make release-check  outside, vendored, unit, matrix-release-check and bench: what a release requires beyond the gate"

.PHONY: build-deps
build-deps: ; @$(call install,$(BUILD_PACKAGES))

.PHONY: deps
deps: ; @$(call install,$(BUILD_PACKAGES) $(LAB_PACKAGES))

.PHONY: lint-deps
lint-deps: ; @$(call install,$(LINT_PACKAGES))

# Takes cargo 1.90 or newer: the two depend on each other, and neither is published.
.PHONY: package
package: deps
	cargo package --package retrans-macros --package retrans-sdk --allow-dirty

.PHONY: outside
outside: deps
	tests/outside.sh

.PHONY: unit
unit: deps
	@$(call install,$(UNIT_PACKAGES))
	cargo build --locked --package retrans-examples --bin agent
	$(SUDO) tests/unit.sh $(or $(CARGO_TARGET_DIR),target)/debug/agent --for 0

# Forty seconds on two CPUs that have nothing else to do. This machine's libelf and zlib are covered meanwhile, for nobody but itself.
.PHONY: vendored
vendored: deps
	@$(call install,$(VENDORED_PACKAGES))
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" tests/vendored.sh

# What is public of both crates, in the crates, so that a change of it is seen where it is made. It is made from what rustdoc writes
# as JSON, whose format is not stable (tests/rustdoc-json.sh): the toolchain of another version may not do.
PUBLIC := retrans-macros retrans-sdk
PUBLIC_API := target/public-api/text
.PHONY: public-api-text
public-api-text: deps
	rm -rf $(PUBLIC_API) && mkdir -p $(PUBLIC_API)
	@# Cargo does not know that another rustdoc writes other files: it must run.
	rm -f $(foreach crate,$(PUBLIC),$(or $(CARGO_TARGET_DIR),target)/doc/$(subst -,_,$(crate)).json)
	touch $(foreach crate,$(PUBLIC),$(crate)/src/lib.rs)
	RUSTDOC=$(CURDIR)/tests/rustdoc-json.sh cargo doc --quiet --locked $(addprefix --package ,$(PUBLIC)) --no-deps $(FEATURES)
	set -e; for crate in $(PUBLIC); do \
		$(if $(BUILT),$(or $(CARGO_TARGET_DIR),target)/debug/public_api,cargo run --quiet --locked --package retrans-tests --bin public_api --) \
			$(or $(CARGO_TARGET_DIR),target)/doc/$$(echo $$crate | tr - _).json >$(PUBLIC_API)/$$crate; \
	done

.PHONY: public-api
public-api: public-api-text
	set -e; for crate in $(PUBLIC); do cp $(PUBLIC_API)/$$crate $$crate/public-api.txt; done

.PHONY: public-api-check
public-api-check: public-api-text
	@differs=; for crate in $(PUBLIC); do diff -u $$crate/public-api.txt $(PUBLIC_API)/$$crate || differs=yes; done; \
	[ -z "$$differs" ] || { echo "what is public has changed: if it is meant, make public-api, and commit it"; exit 1; }

# Only what is missing, and nothing without apt: elsewhere the build says what it lacks.
define install
	command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	[ -z "$$missing" ] && exit 0; \
	echo "installing:" $$missing; \
	$(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null
endef

# Without root it is a replay; with LIVE=required that is a failure.
.PHONY: demo
demo: build-deps
	$(if $(filter cargo,$(firstword $(CLI))),cargo build --locked --release --package retrans-cli --features demo)
	@if $(CAN_BE_ROOT); then $(MAKE) --no-print-directory deps && $(DEMO_AS_ROOT); else $(DEMO); fi

# What the demo replays for those who may not.
.PHONY: recording
recording: deps
	cargo build --locked --release --package retrans-cli --features demo
	$(DEMO_AS_ROOT) --record examples/retrans/recordings/lab.kv
	$(SUDO) chown --reference=README.md examples/retrans/recordings/lab.kv

.PHONY: test
test: unit-tests
	@$(MAKE) --no-print-directory live LIVE=$(LIVE)

# Unit and documentation tests, and those of the programs that need no root.
.PHONY: unit-tests
unit-tests: deps
	cargo test --locked --workspace $(WORKSPACE_FEATURES) --no-fail-fast

# Each live test is `#[ignore]`d by name for a plain `cargo test`. Here they run, as root, or it is said that they did not.
.PHONY: live
live:
	@if $(CAN_BE_ROOT); then \
		$(AS_ROOT) tests/live.sh; \
	elif [ "$(LIVE)" = required ]; then \
		echo "live tests: NOT RUN, and they are required: they need root or sudo"; exit 1; \
	else \
		echo "live tests: NOT RUN: they need root or sudo; with LIVE=required this is a failure"; \
	fi

BENCHES := user_space pipeline kernel
# Fails where a bar is not met: they are meant for a machine that has nothing else to do.
.PHONY: bench
bench: deps
	@$(call install,$(BENCH_PACKAGES))
	$(AS_ROOT) tests/bench.sh $(BENCHES)

# How often, each time with every outcome over every family.
RUNS ?= 50
.PHONY: soak
soak: deps
	$(AS_ROOT) tests/soak.sh $(RUNS)

# Bare systems on which the README's commands are run. Ubuntu's archive may not be reachable: that is said.
SUITES ?= bookworm trixie noble
.PHONY: fresh-machines
fresh-machines:
	@$(call install,debootstrap wget)
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" tests/fresh-machine.sh $(SUITES)

# Boots kernels of tests/kernels/kernels.list (KERNELS="6.12 7.3"; default: all) and records the results of those that pass. Needs no
# root. JOBS guests run at a time (default: the number of CPUs). Patched kernels that are not built yet are built, which takes about
# ten minutes on two CPUs; with CACHED=1 they are left out. ACCEPT=1 records a row also if it has lost something that is recorded.
# ONLY=attach_methods:: boots one kernel for the live tests whose names begin so. MATRIX_ACCEL=kvm or tcg forces how guests run.
# Downloads, built kernels, and the console of the last boot of each, are kept in $XDG_CACHE_HOME/retrans-matrix.
KERNELS ?=
CACHED ?=
ACCEPT ?=
ONLY ?=
TURN ?=
MATRIX := cargo run --locked --quiet --package retrans-kernels --bin matrix --release --
# With BUILT=1, the program that `make test` has built.
MATRIX_DEV := $(if $(BUILT),$(or $(CARGO_TARGET_DIR),target)/debug/matrix,cargo run --locked --quiet --package retrans-kernels --bin matrix --)
.PHONY: matrix
matrix: deps
	@$(call install,$(MATRIX_PACKAGES) $(KERNEL_PACKAGES))
	$(MATRIX) run $(if $(CACHED),--cached) $(if $(ACCEPT),--accept) $(if $(ONLY),--only=$(ONLY)) $(KERNELS)

# With the programs that `make test` has built, like the next two.
.PHONY: matrix-check
matrix-check: deps
	$(MATRIX_DEV) --dev check

.PHONY: matrix-release-check
matrix-release-check: deps
	$(MATRIX_DEV) --dev check --release

# TURN chooses the second kernel (default: the number of commits).
.PHONY: matrix-gate
matrix-gate: deps
	@$(call install,$(MATRIX_PACKAGES))
	$(MATRIX_DEV) --dev gate $(if $(TURN),--turn=$(TURN))

.PHONY: lint
lint: deps lint-deps
	# As on a machine without clang, first: what follows uses the same dependencies.
	RUSTDOCFLAGS="-D warnings" DOCS_RS=1 CLANG=/nonexistent cargo doc --locked --package retrans-sdk --no-deps $(FEATURES)
	cargo fmt --all --check
	clang-format --dry-run --Werror bpf/*.h bpf/*.c tests/*/bpf/*.c
	cargo clippy --workspace --all-targets $(WORKSPACE_FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(WORKSPACE_FEATURES)
	@# Whatever it says is wrong, also where its status is 0. Not that the program is not installed.
	@unit=target/retrans-agent.service; sed 's|^ExecStart=.*|ExecStart=/bin/true|' docs/retrans-agent.service >$$unit && \
	said=$$(systemd-analyze verify --man=no $$unit 2>&1) && [ -z "$$said" ] || { echo "$$unit: $$said"; exit 1; }

.PHONY: header-check
header-check: deps
	$(CLI) check "$(KERNEL_SRC)"

# The one on PATH, else one in the user's cache, which takes three minutes to build once.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/retrans-tools
DENY := $(or $(shell command -v cargo-deny),$(TOOLS)/bin/cargo-deny)
$(TOOLS)/bin/cargo-deny:
	@echo "installing: cargo-deny, into $(TOOLS)"
	CARGO_INCREMENTAL=0 cargo install cargo-deny --version 0.20.2 --locked --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	rm -rf $(TOOLS)/build

# What a release requires in addition to the gate (.ci/run): hours, most of them for `make matrix` before it.
.PHONY: release-check
release-check: outside vendored unit matrix-release-check bench

.PHONY: deny
deny: $(DENY)
	$(DENY) --all-features check --hide-inclusion-graph licenses bans sources
