#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# rustdoc that writes JSON, for `RUSTDOC=`. Its format is unstable, which RUSTC_BOOTSTRAP allows. Set for rustdoc alone, since cargo
# would build everything anew for it.
exec env RUSTC_BOOTSTRAP=1 rustdoc "$@" -Z unstable-options --output-format json
