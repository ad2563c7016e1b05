// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles BPF programs for the build scripts of the lab and of the live tests.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use libbpf_cargo::SkeletonBuilder;

/// Returns a builder that compiles `source` into `OUT/NAME.bpf.o`.
pub(crate) fn builder(source: &Path, out: &Path, includes: &[&Path]) -> SkeletonBuilder {
    let name = name(source);
    let mut arguments: Vec<OsString> = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"].map(Into::into).into();
    // `packets` uses atomic operations that return the old value, which require Linux 5.12.
    arguments.push(if name == "packets" { "-mcpu=v3" } else { "-mcpu=v2" }.into());
    for include in includes {
        arguments.extend(["-I".into(), include.into()]);
    }
    let mut builder = SkeletonBuilder::new();
    if let Some(clang) = env::var_os("CLANG") {
        builder.clang(clang);
    }
    builder.source(source).obj(out.join(format!("{name}.bpf.o"))).clang_args(arguments);
    builder
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

/// Returns the name of `NAME.bpf.c`.
pub(crate) fn name(source: &Path) -> &str {
    let file = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    file.strip_suffix(".bpf.c").unwrap_or(file)
}
