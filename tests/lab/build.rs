// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the lab's own BPF programs. They inject faults, apply rules to packets, mark sockets,
//! and inject records.

use std::env;
use std::path::{Path, PathBuf};

#[path = "build/bpf.rs"]
mod bpf;

fn main() {
    println!("cargo:rerun-if-env-changed=CLANG");
    for path in ["bpf", "build", "../../bpf", "../../retrans-sdk/build"] {
        println!("cargo:rerun-if-changed={path}");
    }
    bpf::show_warnings();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let lab = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let headers = lab.join("../../bpf");

    bpf::compile(&lab.join("bpf/faults.bpf.c"), &out, &[&headers]);
    bpf::compile(&lab.join("bpf/packets.bpf.c"), &out, &[&headers]);
    bpf::compile(&lab.join("bpf/late_mark.bpf.c"), &out, &[&headers]);
    with_skeleton(&lab.join("bpf/record_injector.bpf.c"), &out, &[&headers]);
}

fn with_skeleton(source: &Path, out: &Path, includes: &[&Path]) {
    let skeleton = out.join(format!("{}.skel.rs", bpf::name(source)));
    if let Err(error) = bpf::builder(source, out, includes).build_and_generate(skeleton) {
        panic!("cannot compile {source:?}: {error:#}");
    }
}
