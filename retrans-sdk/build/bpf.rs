// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles BPF programs, for the build scripts of the SDK, of the lab and of the live tests.
//!
//! # Design
//!
//! A warning of clang does not fail the build: a newer clang has warnings that are unknown here,
//! and a user cannot correct them. The build script prints them as warnings of cargo. Cargo shows
//! them for a checkout and hides them for other dependencies. `make lint` fails if there are any.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use libbpf_cargo::SkeletonBuilder;
use libbpf_cargo::util::CargoWarningFormatter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Prints what clang prints as warnings of cargo, from now on.
pub(crate) fn show_warnings() {
    // The targets under which libbpf-cargo passes the compiler's output to `tracing`.
    let compiler = Targets::new()
        .with_target("compiler-stdout", LevelFilter::INFO)
        .with_target("compiler-stderr", LevelFilter::INFO);
    tracing_subscriber::fmt().event_format(CargoWarningFormatter).finish().with(compiler).init();
}

/// Returns a builder that compiles `source` into `OUT/NAME.bpf.o`, with more `arguments` of clang.
pub(crate) fn builder(
    clang: &OsStr,
    source: &Path,
    out: &Path,
    arguments: impl IntoIterator<Item = OsString>,
) -> SkeletonBuilder {
    let common = ["-Wall", "-Wextra", "-Wno-unused-parameter"].map(OsString::from);
    let mut builder = SkeletonBuilder::new();
    builder
        .clang(clang)
        .source(source)
        .obj(out.join(format!("{}.bpf.o", name(source))))
        .clang_args(common.into_iter().chain(arguments))
        // Does not exist, so the skeleton is not formatted. A toolchain with the minimal profile
        // has a `rustfmt` that fails.
        .rustfmt(out.join("no-rustfmt"));
    builder
}

/// Returns the name of `NAME.bpf.c`.
pub(crate) fn name(source: &Path) -> &str {
    let file = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    file.strip_suffix(".bpf.c").unwrap_or(file)
}
