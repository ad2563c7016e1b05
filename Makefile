# SPDX-License-Identifier: MIT OR Apache-2.0

# A recipe line that contains the variable MAKE runs even with `make -n`, so no recipe calls make
# again (tests/live/tests/makefile.rs).

# The packages that a build requires and that a minimal Debian or Ubuntu lacks,
BUILD_PACKAGES := clang gcc libc6-dev make pkg-config libelf-dev zlib1g-dev
# and the packages to create namespaces with traffic in them, which requires root anyway.
LAB_PACKAGES := iproute2 libcap2-bin nftables
LINT_PACKAGES = clang-format $(UNIT_PACKAGES)
# systemd checks a unit, and runs one in namespaces. It need not be running on this system.
UNIT_PACKAGES := systemd
# The programs that the benches are compared with.
BENCH_PACKAGES := bpftrace linux-perf
MATRIX_PACKAGES := debian-archive-keyring kmod xz-utils zstd
# Required to build a kernel: tests/kernels/patches.
KERNEL_PACKAGES := bc bison dwarves flex patch perl
REPORT_PACKAGES := chromium fonts-dejavu-core
# To unpack the kernel's packetdrill scripts, and the programs that they start.
PACKETDRILL_PACKAGES := bash debian-archive-keyring ethtool iproute2 procps python3 xz-utils

# Required to build with the feature `vendored` of libbpf-rs, which does not require libelf.
VENDORED_PACKAGES := autoconf automake autopoint bison flex gawk

# Every feature of the SDK.
FEATURES := --features retrans-sdk/full,retrans-sdk/test-util
# The same for the whole workspace, with `retrans demo`.
WORKSPACE_FEATURES := --all-features

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
# Makes cargo run the programs that it built as root.
AS_ROOT := $(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER="$(SUDO) -E")

CAN_BE_ROOT := [ -z "$(SUDO)" ] || $(SUDO) true
# The command `retrans` with `retrans demo`. It is built and run, unless CLI names a program that is
# built already.
CLI ?= cargo run --locked --release --quiet --package retrans-cli --features demo --
DEMO = $(CLI) demo $(if $(filter required,$(LIVE)),--live)
# Runs the demo as root. If CLI is cargo, its runner does this.
DEMO_AS_ROOT = $(if $(filter cargo,$(firstword $(CLI))),$(AS_ROOT),$(SUDO)) $(DEMO)

# `make test LIVE=required` fails where the live tests cannot run.
LIVE ?= if-possible
# `make header-check` compares the tables with the headers in this tree, with the built object, and
# with the running kernel.
KERNEL_SRC ?= /usr/include

.PHONY: help
help:
	@echo "make demo          shows retransmissions and their results, in its own namespaces"
	@echo "make test          runs every test, the live tests with sudo"
	@echo "make bench         measures the cost of an event in the kernel and in user space,"
	@echo "                   and checks the bars; as root (BENCHES=… selects benches)"
	@echo "make soak          runs every outcome 50 times (RUNS=…) with all CPUs busy; as root"
	@echo "make recording     recreates the recording that the demo replays without root"
	@echo "make matrix        boots a list of kernels, runs the lab, the live tests and the"
	@echo "                   demo in each, and records the results (KERNELS=…)"
	@echo "make matrix-check  checks the recorded results and names the stale rows"
	@echo "make matrix-release-check  does the same, and fails if a row is stale"
	@echo "make matrix-gate   boots the oldest kernel and another one by rotation, and fails if"
	@echo "                   the results differ from the recorded ones"
	@echo "make packetdrill   plays the packetdrill scripts of the kernel's selftests, and compares"
	@echo "                   each attempt with the kernel; as root (SCRIPTS=… NAMES=…)"
	@echo "make fleet-test    tests the agent of examples/fleet: three network namespaces as hosts, a"
	@echo "                   real Prometheus and collector, alert rules, Parquet files; as root"
	@echo "make deb           builds a Debian package of the command and the agent, installs it in a"
	@echo "                   chroot, and runs its unit under systemd; as root"
	@echo "make fresh-machines  runs the README's commands on minimal systems (SUITES=…)"
	@echo "make report-test   opens the page of retrans report in Chromium, and writes pictures"
	@echo "make fuzz          runs the fuzz targets with libFuzzer, each for SECONDS=20 (TARGETS=…)"
	@echo "make lint          checks formatting, clippy and documentation; warnings are errors"
	@echo "make words         the words and line widths of everything a person reads (tests/words)"
	@echo "make header-check  compares the tables with the kernel's headers (KERNEL_SRC=…)"
	@echo "make deny          checks the licences and sources of all dependencies"
	@echo "make package       packages both crates as for publishing, and builds each alone"
	@echo "make reproducible  packages both crates twice, in two clones, and compares the files"
	@echo "make outside       builds and runs a crate that depends on the SDK by path, by git,"
	@echo "                   and as it would be published"
	@echo "make msrv          compiles the SDK with the oldest supported Rust"
	@echo "make vendored      builds with static libelf and zlib, where neither is installed;"
	@echo "                   as root"
	@echo "make without-clang  tests the SDK in a build without the BPF programs"
	@echo "make image         builds docs/deploy/Dockerfile with docker or podman, and runs"
	@echo "                   retrans doctor in it"
	@echo "make unit          runs docs/retrans-agent.service under systemd in namespaces; as"
	@echo "                   root"
	@echo "make public-api    records the public API"
	@echo "make public-api-check  reports changes of the public API since it was recorded"
	@echo "make release-check  runs outside, reproducible, msrv, vendored, without-clang, unit,"
	@echo "                   image, packetdrill, matrix-release-check and bench, which a release"
	@echo "                   requires in addition to the gate"

.PHONY: build-deps
build-deps: ; @$(call install,$(BUILD_PACKAGES))

.PHONY: deps
deps: ; @$(call install,$(BUILD_PACKAGES) $(LAB_PACKAGES))

.PHONY: lint-deps
lint-deps: ; @$(call install,$(LINT_PACKAGES))

# Requires cargo 1.90 or newer, because one crate depends on the other and neither is published.
.PHONY: package
package: deps
	cargo package --package retrans-macros --package retrans-sdk --allow-dirty

# Packages the last commit twice, in two clones, and compares the files.
.PHONY: reproducible
reproducible: deps
	tests/reproducible.sh

.PHONY: outside
outside: deps
	tests/outside.sh

NO_CLANG := DOCS_RS=1 CLANG=/nonexistent
# Runs what docs/building.md promises without clang. The tests of the module `check` and those in
# the sources compare with the built BPF object, so they are left out.
.PHONY: without-clang
without-clang: CARGO_ARGUMENTS = --locked --package retrans-sdk --features json,log,prometheus,tokio,tracing,zstd --target-dir $(or $(CARGO_TARGET_DIR),target)/without-clang
without-clang: deps
	$(NO_CLANG) cargo test $(CARGO_ARGUMENTS) --test '*'
	$(NO_CLANG) cargo test $(CARGO_ARGUMENTS) --doc

# Prints NOT RUN if there is no such toolchain and rustup cannot install one. With MSRV=required
# that is a failure.
MSRV ?= if-possible
.PHONY: msrv
msrv: deps
	MSRV=$(MSRV) tests/msrv.sh

.PHONY: unit
unit: deps
	@$(call install,$(UNIT_PACKAGES))
	cargo build --locked --package retrans-examples --bin agent
	$(SUDO) tests/unit.sh $(or $(CARGO_TARGET_DIR),target)/debug/agent --for 0

# Needs forty seconds on two idle CPUs. Meanwhile this machine's libelf and zlib are hidden, but
# only in the mount namespace of this build.
.PHONY: vendored
vendored: deps
	@$(call install,$(VENDORED_PACKAGES))
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" tests/vendored.sh

# Prints NOT BUILT if no container engine answers. With IMAGE=required that is a failure.
IMAGE ?= if-possible
.PHONY: image
image:
	IMAGE=$(IMAGE) tests/image.sh

# The public API of both crates. It is recorded in the crates, so that a change of it is visible
# next to the change of the code. It is generated from rustdoc's JSON output. The JSON format is not
# stable (tests/rustdoc-json.sh), so another version of the toolchain may not work.
PUBLIC := retrans-macros retrans-sdk
PUBLIC_API := target/public-api/text
.PHONY: public-api-text
public-api-text: deps
	rm -rf $(PUBLIC_API) && mkdir -p $(PUBLIC_API)
	@# Cargo does not know that another rustdoc writes other files, so rustdoc is forced to run.
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
	[ -z "$$differs" ] || { echo "the public API has changed: if intended, run make public-api and commit it"; exit 1; }

# Installs only missing packages. Does nothing without apt: there the build reports what is missing.
define install
	command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	[ -z "$$missing" ] && exit 0; \
	echo "installing:" $$missing; \
	$(SUDO) apt-get update -qq && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null
endef

# Without root the demo is a replay. With LIVE=required a replay is a failure.
.PHONY: demo
demo: build-deps
	$(if $(filter cargo,$(firstword $(CLI))),cargo build --locked --release --package retrans-cli --features demo)
	@if $(CAN_BE_ROOT); then ($(call install,$(LAB_PACKAGES))) && $(DEMO_AS_ROOT); else $(DEMO); fi

# The recording that the demo replays without the required privileges.
.PHONY: recording
recording: deps
	cargo build --locked --release --package retrans-cli --features demo
	$(DEMO_AS_ROOT) --record examples/retrans/recordings/lab.kv
	$(SUDO) chown --reference=README.md examples/retrans/recordings/lab.kv

.PHONY: test
test: unit-tests
	@$(run_live)

# Unit tests, documentation tests, and the tests of the programs that do not require root.
TEST := cargo test --locked --workspace $(WORKSPACE_FEATURES)
.PHONY: unit-tests
unit-tests: deps
	$(TEST) --no-fail-fast

# Builds all test programs, the live tests included.
.PHONY: build-tests
build-tests: deps
	$(TEST) --no-run

# Each live test has the attribute `#[ignore]`, so a plain `cargo test` skips it. This runs them as
# root, or reports that they did not run.
define run_live
	if $(CAN_BE_ROOT); then \
		$(AS_ROOT) tests/live.sh; \
	elif [ "$(LIVE)" = required ]; then \
		echo "live tests: NOT RUN, but required: they require root or sudo"; exit 1; \
	else \
		echo "live tests: NOT RUN: they require root or sudo; with LIVE=required this is a failure"; \
	fi
endef

.PHONY: live
live:
	@$(run_live)

BENCHES := user_space pipeline kernel
# Fails if a bar is not met. The bars are for an idle machine.
.PHONY: bench
bench: deps
	@$(call install,$(BENCH_PACKAGES))
	$(AS_ROOT) tests/bench.sh $(BENCHES)

# The number of runs. Each covers every outcome over every family.
RUNS ?= 50
.PHONY: soak
soak: deps
	$(AS_ROOT) tests/soak.sh $(RUNS)

# Runs the fuzz targets of tests/fuzz with libFuzzer and the stable compiler. SECONDS is the time
# for each target, and TARGETS selects some of them. `make test` runs their corpora.
SECONDS ?= 20
TARGETS ?=
.PHONY: fuzz
fuzz: deps
	@$(call install,g++)
	SECONDS_EACH=$(SECONDS) TARGETS="$(TARGETS)" tests/fuzz.sh

# Writes the pictures to target/tmp/report.
.PHONY: report-test
report-test: deps
	@$(call install,$(REPORT_PACKAGES))
	cargo test --locked --package retrans-cli --test report_browser

# Plays every script of packetdrill in the kernel's selftests, or in the directory SCRIPTS, and
# fails if an attempt contradicts the kernel. NAMES selects scripts by parts of their names. The
# kernel's scripts are fetched once, from the system's archive.
SCRIPTS ?=
NAMES ?=
PACKETDRILL := cargo run --locked --quiet --release --package retrans-packetdrill --
.PHONY: packetdrill
packetdrill: deps
	@$(call install,$(PACKETDRILL_PACKAGES))
	cargo build --locked --release --package retrans-packetdrill
	@# Not as root, because the scripts are kept in the user's cache.
	$(if $(SCRIPTS),,$(PACKETDRILL) --fetch)
	$(AS_ROOT) $(PACKETDRILL) $(if $(SCRIPTS),--scripts "$(SCRIPTS)") $(NAMES)

# Minimal systems on which the README's commands are run. If an archive is not reachable (Ubuntu's
# may not be), this is reported. With `-minimal` the build uses rustup's minimal profile.
SUITES ?= bookworm trixie noble trixie-minimal
.PHONY: fresh-machines
fresh-machines:
	@$(call install,debootstrap wget)
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" tests/fresh-machine.sh $(SUITES)

# Boots kernels of tests/kernels/kernels.list (KERNELS="6.12 7.3"; default: all) and records the
# results of those that pass. Does not require root. JOBS guests run at a time (default: the number
# of CPUs). Patched kernels that are not built yet are built, which needs about 15 minutes on two
# CPUs; with CACHED=1 they are left out. ACCEPT=1 records a row even if a recorded result is lost.
# ONLY=attach_methods:: boots one kernel for the live tests whose names begin with this prefix, with
# the options APPEND on its command line, such as APPEND=lockdown=confidentiality.
# MATRIX_ACCEL=kvm or tcg forces how guests run. Downloads, built kernels, and the console of the
# last boot of each kernel are kept in $RETRANS_MATRIX_CACHE, by default
# ${XDG_CACHE_HOME:-$HOME/.cache}/retrans-matrix.
KERNELS ?=
CACHED ?=
ACCEPT ?=
ONLY ?=
APPEND ?=
TURN ?=
MATRIX := cargo run --locked --quiet --package retrans-kernels --bin matrix --release --
# With BUILT=1, runs the program that `make test` has built.
MATRIX_DEV := $(if $(BUILT),$(or $(CARGO_TARGET_DIR),target)/debug/matrix,cargo run --locked --quiet --package retrans-kernels --bin matrix --)
.PHONY: matrix
matrix: deps
	@$(call install,$(MATRIX_PACKAGES) $(KERNEL_PACKAGES))
	$(MATRIX) run $(if $(CACHED),--cached) $(if $(ACCEPT),--accept) $(if $(ONLY),--only=$(ONLY)) $(if $(APPEND),--append="$(APPEND)") $(KERNELS)

# This target and the next two use the programs that `make test` has built.
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

# examples/fleet is a workspace of its own, so no other target builds it. `make lint` checks its
# formatting, and `make deny` its dependencies.
.PHONY: fleet-test
fleet-test: deps
	@$(call install,python3-venv)
	$(AS_ROOT) tests/fleet.sh

.PHONY: deb
deb: deps
	@$(call install,$(UNIT_PACKAGES) binutils debootstrap dpkg-dev)
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" tests/deb.sh

.PHONY: lint
lint: deps lint-deps
	# Builds the SDK and its documentation as on a machine without clang. These are the first
	# steps, because the others use the same dependencies. rustdoc checks no function bodies.
	$(NO_CLANG) tests/no-warnings.sh cargo check --locked --package retrans-sdk $(FEATURES)
	RUSTDOCFLAGS="-D warnings" $(NO_CLANG) cargo doc --locked --package retrans-sdk --no-deps $(FEATURES)
	cargo fmt --all --check
	cargo fmt --manifest-path examples/fleet/Cargo.toml --check
	clang-format --dry-run --Werror bpf/*.h bpf/*.c tests/*/bpf/*.c
	@# Also fails if clang warns of a BPF program.
	tests/no-warnings.sh cargo clippy --workspace --all-targets $(WORKSPACE_FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(WORKSPACE_FEATURES)
	@# Any output is an error, even if the status is 0. ExecStart is replaced because the
	@# program is not installed.
	@unit=target/retrans-agent.service; \
	for file in docs/retrans-agent.service examples/fleet/deb/retrans-agent.service; do \
		sed 's|^ExecStart=.*|ExecStart=/bin/true|' $$file >$$unit && \
		said=$$(systemd-analyze verify --man=no $$unit 2>&1) && [ -z "$$said" ] || { echo "$$file: $$said"; exit 1; }; \
	done

.PHONY: words
words: deps
	cargo run --locked --quiet --package retrans-words

.PHONY: header-check
header-check: deps
	$(CLI) check "$(KERNEL_SRC)"

# cargo-deny from PATH, else one in the user's cache. Building it once needs three minutes.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/retrans-tools
DENY := $(or $(shell command -v cargo-deny),$(TOOLS)/bin/cargo-deny)
$(TOOLS)/bin/cargo-deny:
	@echo "installing: cargo-deny, into $(TOOLS)"
	CARGO_INCREMENTAL=0 cargo install cargo-deny --version 0.20.2 --locked --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	rm -rf $(TOOLS)/build

# The checks that a release requires in addition to the gate (.ci/run). They need hours, most of
# them for `make matrix` before them.
.PHONY: release-check
release-check: MSRV := required
release-check: outside reproducible msrv vendored without-clang unit image packetdrill matrix-release-check bench

.PHONY: deny
deny: $(DENY)
	$(DENY) --all-features check --hide-inclusion-graph licenses bans sources
	$(DENY) --manifest-path examples/fleet/Cargo.toml --all-features check -A license-not-encountered --hide-inclusion-graph licenses bans sources
