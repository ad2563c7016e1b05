// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs are short enough to read in one go.

use std::fs;
use std::path::Path;

#[test]
fn each_has_eighty_lines_at_most() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let mut programs = 0;
    for program in fs::read_dir(directory).expect("the programs") {
        let path = program.expect("a program").path();
        let lines = fs::read_to_string(&path).expect("its source").lines().count();
        assert!(lines <= 80, "{}: {lines}", path.display());
        programs += 1;
    }
    assert!(programs > 5, "{programs}");
}
