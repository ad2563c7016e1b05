#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Checks that retrans-macros and retrans-sdk compile with the oldest supported Rust, the
# `rust-version` of their manifests: without features, with all features, and for documentation.
#
# Uses the toolchain on PATH if it has this version. Otherwise rustup installs one with the minimal
# profile, unless there is one. This profile has no rustfmt, so it is also checked that none is
# required. Prints NOT RUN if there is no such toolchain, which is not a failure, unless
# MSRV=required.
set -euo pipefail
cd "$(dirname "$0")/.."

declared() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1/Cargo.toml"; }
version=$(declared retrans-sdk)
[[ $version =~ ^1\.[0-9]+$ ]] || { echo "msrv: retrans-sdk has the rust-version '$version'" >&2; exit 1; }
[ "$(declared retrans-macros)" = "$version" ] || {
	echo "msrv: retrans-macros has another rust-version than retrans-sdk, which depends on it" >&2
	exit 1
}

with=()
if [[ $(rustc --version) != "rustc $version."* ]]; then
	with=(rustup run "$version")
	if ! command -v rustup >/dev/null; then
		why="rustup is not installed, and rustc is $(rustc --version | cut -d ' ' -f 2)"
	elif ! said=$("${with[@]}" rustc --version 2>&1) &&
		! { echo "installing: Rust $version, with rustup" && said=$(timeout 300 \
			rustup toolchain install "$version" --profile minimal --no-self-update 2>&1); }; then
		why="rustup cannot install Rust $version: $(tail -1 <<<"$said")"
	fi
	if [ -n "${why-}" ]; then
		echo "msrv: NOT RUN: $why"
		[ "${MSRV-}" != required ] || exit 1
		exit 0
	fi
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv
start=$SECONDS
check() { "${with[@]}" cargo check --locked --quiet --package retrans-macros --package retrans-sdk "$@"; }
check
check --features retrans-sdk/full
DOCS_RS=1 check --features retrans-sdk/full
echo "msrv: compiled with $("${with[@]}" rustc --version) in $((SECONDS - start)) s"
