// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the command is built without the crates of the lab.

use std::process::Command;

/// Crates that only the lab and the repository's own tests need: netlink, TUN devices, packets, and
/// rustdoc's JSON.
const OF_THE_LAB: [&str; 6] =
    ["retrans-lab", "netlink-packet-core", "netlink-sys", "tun-rs", "etherparse", "public-api"];

/// Returns those of the crates that a build of the command compiles.
fn compiled(features: &[&str]) -> Vec<&'static str> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "retrans-cli"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    assert!(tree.lines().any(|line| line.starts_with("retrans-sdk ")), "{tree}");
    let is_compiled = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    OF_THE_LAB.into_iter().filter(|name| is_compiled(name)).collect()
}

#[test]
fn only_the_demo_needs_the_lab() {
    assert_eq!(compiled(&[]), <[&str; 0]>::default());
    assert_eq!(compiled(&["--features", "demo"]), OF_THE_LAB[..5]);
}
