// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the lab's own BPF programs into `OUT_DIR`.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const NAMES: [&str; 1] = ["faults"];

fn main() {
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=../bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let mut include = OsString::from("-I");
    include.push(root.join("../bpf"));
    for name in NAMES {
        let mut builder = SkeletonBuilder::new();
        if let Some(clang) = env::var_os("CLANG") {
            builder.clang(clang);
        }
        let source = root.join(format!("bpf/{name}.bpf.c"));
        let arguments = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-mcpu=v2"].map(OsString::from);
        builder.source(&source).obj(out.join(format!("{name}.bpf.o")));
        if let Err(error) = builder.clang_args(arguments.into_iter().chain([include.clone()])).build() {
            panic!("cannot compile {}: {error:#}", source.display());
        }
    }
}
