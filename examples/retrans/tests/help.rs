// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the help of each subcommand, the manual pages, the completions, and the status of usage
//! errors.

use std::process::{Command, Output};

use insta::assert_snapshot;

const SUBCOMMANDS: &[&str] = &[
    "watch",
    "top",
    "replay",
    "explain",
    "histogram",
    "report",
    "doctor",
    "reconcile",
    "check",
    "completions",
    "man",
    #[cfg(feature = "demo")]
    "demo",
];

fn retrans(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(arguments)
        .env_remove("KERNEL_SRC")
        .output()
        .expect("retrans is built")
}

fn printed(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("text")
}

#[test]
fn each_help_is_as_recorded() {
    for name in SUBCOMMANDS {
        let output = retrans(&[name, "--help"]);
        assert!(output.status.success());
        assert_snapshot!(*name, printed(&output));
    }
    // Without the feature `demo` the list of subcommands is shorter.
    #[cfg(feature = "demo")]
    assert_snapshot!("retrans", printed(&retrans(&["--help"])));
}

#[test]
fn each_help_has_an_exit_status_and_two_examples() {
    for name in SUBCOMMANDS {
        for option in ["-h", "--help"] {
            let output = retrans(&[name, option]);
            let (_, after) = printed(&output).split_once("Exit status: 0").unwrap_or_else(|| panic!("{name} {option}"));
            let (_, examples) = after.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} {option}"));
            assert_eq!(examples.lines().filter(|line| line.contains("retrans ")).count(), 2, "{name} {option}");
        }
    }
}

#[test]
fn the_package_version_is_printed() {
    let version = format!("retrans {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&retrans(&["--version"])), version);
    assert_eq!(printed(&retrans(&["watch", "--version"])), version.replace("retrans ", "retrans-watch "));
}

#[test]
fn a_misspelt_subcommand_is_suggested() {
    let output = retrans(&["wach"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'watch'"), "{output:?}");
    assert_eq!(retrans(&[]).status.code(), Some(2));
}

#[test]
fn each_subcommand_has_a_manual_page() {
    for name in SUBCOMMANDS {
        let output = retrans(&["man", name]);
        assert!(output.status.success() && printed(&output).contains(&format!(".TH retrans-{name} 1")), "{output:?}");
        assert!(printed(&output).contains("Exit status: 0"), "{name}");
    }
    assert!(printed(&retrans(&["man"])).contains(".TH retrans 1"));
    let unknown = retrans(&["man", "wach"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).starts_with("retrans: no manual page: `wach`"), "{unknown:?}");
}

#[test]
fn the_completions_contain_the_subcommands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = retrans(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for name in SUBCOMMANDS {
            assert!(printed(&output).contains(name), "{shell}: {name}");
        }
    }
}

#[test]
fn tables_in_a_pipe_contain_no_escape_sequence() {
    for arguments in [&["check", "--format", "table"][..], &["doctor", "--format", "table"]] {
        let output = retrans(arguments);
        assert!(!output.stdout.is_empty() && !output.stdout.contains(&0x1b), "{arguments:?}: {output:?}");
        assert!(!printed(&output).contains("%20"), "{}", printed(&output));
    }
}
