// SPDX-License-Identifier: MIT OR Apache-2.0
//! An application may use libbpf itself, on other threads, with its own printer.
#![cfg(feature = "check")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use libbpf_rs::btf::Btf;
use libbpf_rs::{PrintLevel, get_print, set_print};

static HEARD: AtomicU32 = AtomicU32::new(0);

fn hear(_: PrintLevel, message: String) {
    assert!(message.contains("theirs"), "the application's printer received a message of the SDK: {message}");
    HEARD.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn the_printer_of_the_application_is_not_affected() {
    const ROUNDS: u32 = 2000;
    set_print(Some((PrintLevel::Info, hear)));
    assert!(Btf::from_raw("theirs", b"no object").is_err());
    assert_eq!(HEARD.load(Ordering::Relaxed), 1);
    let (done, ended) = channel();
    let theirs = done.clone();
    thread::spawn(move || {
        for _ in 0..ROUNDS {
            assert!(Btf::from_raw("theirs", b"no object").is_err());
        }
        theirs.send(()).expect("the test");
    });
    thread::spawn(move || {
        for _ in 0..ROUNDS {
            assert!(retrans_sdk::check::object_in(b"no object").is_err());
        }
        done.send(()).expect("the test");
    });
    for _ in 0..2 {
        ended.recv_timeout(Duration::from_secs(60)).expect("both threads end");
    }
    // Messages are lost while the SDK reads an object without the log. Here that may be all of the
    // time, so their number is not known.
    assert!(get_print().is_some_and(|(level, _)| level == PrintLevel::Info));
    let before = HEARD.load(Ordering::Relaxed);
    assert!(Btf::from_raw("theirs", b"no object").is_err());
    assert_eq!(HEARD.load(Ordering::Relaxed), before + 1, "the application's printer is set again");
}
