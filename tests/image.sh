#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the image of docs/deploy/Dockerfile, and runs it as docs/containers.md describes: with two
# capabilities it opens a stream, and with one it names the other.
#
# usage: tests/image.sh [OPTION…]      options of `docker build`, such as --build-arg RUN_IMAGE=…
#
# Uses docker, or else podman, if its engine answers. Prints NOT BUILT otherwise, which is not a
# failure, unless IMAGE=required.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=
for program in docker podman; do
	if ! command -v "$program" >/dev/null; then
		echo "image: $program is not installed"
	elif ! said=$("$program" info 2>&1); then
		echo "image: $program cannot be used: $(tail -1 <<<"$said")"
	else
		engine=$program
		break
	fi
done
if [ -z "$engine" ]; then
	echo "image: NOT BUILT: no container engine"
	[ "${IMAGE-}" != required ] || exit 1
	exit 0
fi

start=$SECONDS
tag=retrans:test-$$
"$engine" build --file docs/deploy/Dockerfile --tag "$tag" "$@" .
trap '"$engine" rmi "$tag" >/dev/null' EXIT
echo "image: built by $engine in $((SECONDS - start)) s, $("$engine" image inspect --format '{{.Size}}' "$tag") bytes"

# run CAPABILITY…: runs doctor in the image with these capabilities, and prints its output. The
# status is 0 or 1 if a stream can be opened, and 2 if not.
run() {
	local capability capabilities=()
	for capability in "$@"; do
		capabilities+=(--cap-add "$capability")
	done
	"$engine" run --rm --read-only --network none --security-opt no-new-privileges \
		--cap-drop ALL "${capabilities[@]}" "$tag" doctor
}

# must LEAST-STATUS MOST-STATUS PART-OF-STDOUT CAPABILITY…
must() {
	local least=$1 most=$2 part=$3 status=0 said
	shift 3
	said=$(run "$@") || status=$?
	if [ "$status" -lt "$least" ] || [ "$status" -gt "$most" ] || [[ $said != *"$part"* ]]; then
		printf 'image: with %s: FAILED: status %s\n%s\n' "$*" "$status" "$said"
		exit 1
	fi
	printf 'image: with %s: status %s: %s\n' "$*" "$status" "$(head -1 <<<"$said")"
}

must 0 1 "attached source=" BPF PERFMON
# Each capability has an effect.
must 2 2 "missing%20CAP_PERFMON" BPF
must 2 2 "missing%20CAP_BPF" PERFMON
