// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles BPF programs for the build scripts of the lab and of the live tests.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use libbpf_cargo::SkeletonBuilder;

#[path = "../../../retrans-sdk/build/bpf.rs"]
mod shared;

pub(crate) use shared::{name, show_warnings};

/// Returns a builder that compiles `source` into `OUT/NAME.bpf.o`.
pub(crate) fn builder(source: &Path, out: &Path, includes: &[&Path]) -> SkeletonBuilder {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // `packets` uses atomic operations that return the old value, which require Linux 5.12.
    let mut arguments: Vec<OsString> = vec![if name(source) == "packets" { "-mcpu=v3" } else { "-mcpu=v2" }.into()];
    for include in includes {
        arguments.extend(["-I".into(), include.into()]);
    }
    shared::builder(&clang, source, out, arguments)
}

/// Compiles `source` into `OUT/NAME.bpf.o`.
///
/// # Panics
/// Panics with the compiler's messages if the source cannot be compiled.
pub(crate) fn compile(source: &Path, out: &Path, includes: &[&Path]) {
    if let Err(error) = builder(source, out, includes).build() {
        panic!("cannot compile {source:?}: {error:#}");
    }
}
