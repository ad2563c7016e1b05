// SPDX-License-Identifier: MIT OR Apache-2.0
//! `make -n TARGET` starts nothing. make runs a recipe line even with `-n` if it contains the
//! variable MAKE or begins with `+`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The shell that make uses in this test. It records each command, and runs only those with which
/// the Makefile sets variables. make runs a command without a shell only if the shell is /bin/sh.
const SHELL: &str = r#"#!/bin/sh
printf '%s\n' "$2" >>"${0%/*}/started"
case $2 in
"[ \"\$(id -u)\" = 0 ] || echo sudo" | "rustc -vV "* | "command -v cargo-deny") exec /bin/sh "$@" ;;
esac
"#;

/// Returns the commands that `make -n` starts for a target.
fn started(folder: &Path, target: &str, options: &[&str]) -> Vec<String> {
    let log = folder.join("started");
    fs::write(&log, "").expect("a file in the folder");
    let mut make = Command::new("make");
    make.current_dir(ROOT).args(["-n", target]).arg(format!("SHELL={}", folder.join("sh").display())).args(options);
    // Set if this test is run by make.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"] {
        make.env_remove(variable);
    }
    let output = make.output().expect("make is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "make -n {target}: {said}");
    fs::read_to_string(&log).expect("the file just written").lines().map(str::to_owned).collect()
}

#[test]
fn dry_run_starts_nothing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("makefile");
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let shell = folder.join("sh");
    fs::write(&shell, SHELL).expect("a file in the folder");
    fs::set_permissions(&shell, Permissions::from_mode(0o755)).expect("the file just written");

    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).expect("the Makefile");
    let targets = makefile.lines().filter_map(|line| line.strip_prefix(".PHONY: ")).flat_map(str::split_whitespace);
    let targets = Vec::from_iter(targets);
    assert!(targets.len() > 25 && targets.contains(&"demo") && targets.contains(&"test"), "{targets:?}");

    // The commands that set variables. They only read.
    let variables = started(&folder, "help", &[]);
    assert_eq!(variables.len(), 3, "{variables:?}");
    for target in targets {
        for options in [&[][..], &["LIVE=required", "BUILT=1", "CLI=target/debug/retrans"]] {
            assert_eq!(started(&folder, target, options), variables, "make -n {target} {options:?}");
        }
    }
}
