// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the filter of the BPF programs for this machine.

use std::env;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(fuzzing)");
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=../../bpf");
    cc::Build::new()
        // The headers use attributes of clang, which the build of the SDK requires anyway.
        .compiler(env::var("CLANG").unwrap_or_else(|_| "clang".to_owned()))
        .include("bpf/include")
        .include("../../bpf")
        .flag("-Wno-unknown-attributes")
        .flag("-Wno-unused-parameter")
        .file("bpf/filter_native.c")
        .compile("filter_native");
}
