// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the lab's own programs: the faults, what the bench `kernel` measures with, and the harness of the filter, once more
//! for each mutation of the filter itself.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;

include!("bpf/mutations.rs");

fn main() {
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=../bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let programs = root.join("../bpf");

    compile(&root, "faults", &out, &[&programs]);
    compile(&root, "packets", &out, &[&programs]);
    compile(&root, "filter_harness", &out, &[&programs]);
    compile(&root, "bench", &out, &[&programs]);
    with_skeleton(&root, "producer", &out, &[&programs]);
    let mut objects = String::from("[\n");
    for (name, header, from, to) in MUTATIONS {
        let folder = out.join(name);
        fs::create_dir_all(&folder).expect("a folder in OUT_DIR");
        let whole = fs::read_to_string(programs.join(header)).expect("a header of the programs");
        assert_eq!(whole.matches(from).count(), 1, "{name}: `{from}` must stand once in {header}");
        fs::write(folder.join(header), whole.replace(from, to)).expect("a file in OUT_DIR");
        // Found before the one that it is a copy of.
        compile(&root, "filter_harness", &folder, &[&folder, &programs]);
        let object = folder.join("filter_harness.bpf.o");
        objects += &format!("({name:?}, include_bytes!({object:?}).as_slice()),\n");
    }
    fs::write(out.join("mutants.rs"), objects + "]\n").expect("a file in OUT_DIR");
}

fn compile(root: &Path, name: &str, out: &Path, includes: &[&Path]) {
    finish(name, builder(root, name, out, includes).build());
}

fn with_skeleton(root: &Path, name: &str, out: &Path, includes: &[&Path]) {
    finish(name, builder(root, name, out, includes).build_and_generate(out.join(format!("{name}.skel.rs"))));
}

fn finish<E: Display>(name: &str, built: Result<(), E>) {
    if let Err(error) = built {
        panic!("cannot compile bpf/{name}.bpf.c: {error:#}");
    }
}

fn builder(root: &Path, name: &str, out: &Path, includes: &[&Path]) -> SkeletonBuilder {
    let mut arguments: Vec<OsString> = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"].map(Into::into).into();
    // What runs only where the kernel is new enough counts by atomic operations that give what there was before (Linux 5.12).
    arguments.push(if name == "packets" { "-mcpu=v3" } else { "-mcpu=v2" }.into());
    for include in includes {
        arguments.extend(["-I".into(), include.into()]);
    }
    let mut builder = SkeletonBuilder::new();
    if let Some(clang) = env::var_os("CLANG") {
        builder.clang(clang);
    }
    let source = root.join(format!("bpf/{name}.bpf.c"));
    builder.source(&source).obj(out.join(format!("{name}.bpf.o"))).clang_args(arguments);
    builder
}
