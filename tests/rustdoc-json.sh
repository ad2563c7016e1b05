#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# A rustdoc that writes JSON, for `RUSTDOC=`. The format is unstable, and RUSTC_BOOTSTRAP permits
# it. The variable is set for rustdoc alone, because cargo would rebuild everything for it.
exec env RUSTC_BOOTSTRAP=1 rustdoc "$@" -Z unstable-options --output-format json
