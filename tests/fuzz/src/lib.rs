// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzz targets for every reader of bytes from outside the program.
//!
//! `make fuzz` runs them with libFuzzer. Tests run each file of `corpus/` through its target, and
//! changed copies of these files.
//!
//! # Design
//!
//! A target is a function from bytes, so libFuzzer, the tests and the program that repeats a
//! finding run the same code. A target asserts what holds for any bytes: two readers of one format
//! return the same, a value that was read prints to a text that reads back to the same value, and a
//! message contains nothing that could control a terminal.
//!
//! The coverage that libFuzzer needs is an option of the stable compiler
//! (`-C passes=sancov-module`), so no nightly toolchain is required.

mod filter_compiled;
mod kernel_enums;
#[path = "../../../examples/retrans/src/keys.rs"]
#[allow(unreachable_pub, reason = "the file of another package")]
mod keys;
mod proc_files;
mod recordings;
mod values;

use retrans_sdk::format::Escaped;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is also the name of its corpus.
    pub name: &'static str,
    /// Reads bytes, and panics if an assertion fails.
    pub run: fn(&[u8]),
    /// The maximum number of bytes that are useful.
    pub max_len: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "line", run: values::line, max_len: 4096 },
    Target { name: "json", run: values::json, max_len: 4096 },
    Target { name: "record", run: values::record, max_len: 512 },
    Target { name: "verdict", run: values::verdict, max_len: 1024 },
    Target { name: "field_set", run: values::field_set, max_len: 512 },
    Target { name: "escaped", run: values::escaped, max_len: 512 },
    Target { name: "filter", run: values::filter, max_len: 2048 },
    Target { name: "filter_compiled", run: filter_compiled::run, max_len: 2048 },
    Target { name: "kernel_text", run: recordings::kernel_text, max_len: 8192 },
    Target { name: "recording", run: recordings::any_format, max_len: 8192 },
    Target { name: "zstd", run: recordings::zstd, max_len: 8192 },
    Target { name: "c_header", run: kernel_enums::c_header, max_len: 8192 },
    Target { name: "btf", run: kernel_enums::btf, max_len: 8192 },
    Target { name: "object", run: kernel_enums::object, max_len: 16_384 },
    Target { name: "mountinfo", run: proc_files::mountinfo, max_len: 4096 },
    Target { name: "cgroups", run: proc_files::cgroups, max_len: 4096 },
    Target { name: "netns_counters", run: proc_files::netns_counters, max_len: 4096 },
    Target { name: "keys", run: proc_files::keys, max_len: 512 },
];

/// Returns the target with a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Asserts that a message contains nothing that could control a terminal, or hide or forge text.
#[track_caller]
fn assert_printable(message: &str) {
    assert_eq!(Escaped::text(message).to_string(), message, "not escaped: {message:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "not escaped")]
    fn a_message_with_an_escape_sequence_is_found() {
        assert_printable("a\x1b[2J");
    }
}
