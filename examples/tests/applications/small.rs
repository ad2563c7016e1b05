// SPDX-License-Identifier: MIT OR Apache-2.0
//! They are small: what a tool of one's own takes is what can be read here.

use std::fs;
use std::path::Path;

#[test]
fn each_is_shorter_than_eighty_lines() {
    for name in ["agent", "alert", "sidecar", "stalled", "ship"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/bin/{name}.rs"));
        let lines = fs::read_to_string(&path).expect("its source").lines().count();
        assert!(lines < 80, "{name}: {lines}");
    }
}
