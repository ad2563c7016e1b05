// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs are short enough to read in one go.

use std::fs;
use std::path::Path;

#[test]
fn each_has_eighty_lines_at_most() {
    for name in ["agent", "alert", "custom_filter", "reset_reasons", "sidecar", "stalled", "ship"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/bin/{name}.rs"));
        let lines = fs::read_to_string(&path).expect("its source").lines().count();
        assert!(lines <= 80, "{name}: {lines}");
    }
}
