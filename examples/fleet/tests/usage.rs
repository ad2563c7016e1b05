// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of an agent that cannot start. Requires no privileges.
#![cfg(feature = "prometheus")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn agent(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_retrans-agent")).args(arguments).output().expect("the agent starts");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn an_address_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (status, text) = agent(&["--prometheus", &address]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.starts_with(&format!("retrans-agent: cannot listen on {address}: ")), "{text}");
}

#[test]
fn a_wrong_filter_is_explained() {
    let (status, text) = agent(&["--prometheus", "127.0.0.1:0", "results=success"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("results") && text.contains("`result`"), "{text}");
}

#[test]
fn usage_errors_have_the_status_2() {
    for arguments in [&["--prometheus"][..], &["--prometheus", "localhost"], &["--unknown"]] {
        let (status, text) = agent(arguments);
        assert_eq!(status, Some(2), "{arguments:?} {text}");
    }
    let (status, text) = agent(&["--version"]);
    assert!(status == Some(0) && text.starts_with("retrans-agent 0."), "{text}");
    let (status, text) = agent(&["--help"]);
    assert!(status == Some(0) && text.contains("--prometheus <ADDRESS>") && text.contains("Exit status:"), "{text}");
}
