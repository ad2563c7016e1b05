// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the BPF programs of the live tests: the harness of the kernel filter, once more for
//! each mutation of the filter, and the programs that the bench `kernel` measures with.

use std::env;
use std::fs;
use std::path::PathBuf;

#[path = "../lab/build/bpf.rs"]
mod bpf;

include!("bpf/mutations.rs");

fn main() {
    println!("cargo:rerun-if-env-changed=CLANG");
    for path in ["bpf", "../lab/build", "../../bpf", "../../retrans-sdk/build"] {
        println!("cargo:rerun-if-changed={path}");
    }
    bpf::show_warnings();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let live = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let headers = live.join("../../bpf");
    let harness = live.join("bpf/filter_harness.bpf.c");

    bpf::compile(&live.join("bpf/bench.bpf.c"), &out, &[&headers]);
    bpf::compile(&harness, &out, &[&headers]);
    let mut objects = String::from("[\n");
    for (name, header, from, to) in MUTATIONS {
        let mutated = out.join(name);
        fs::create_dir_all(&mutated).expect("a directory in OUT_DIR");
        let text = fs::read_to_string(headers.join(header)).expect("a header of the BPF programs");
        assert_eq!(text.matches(from).count(), 1, "{name}: `{from}` must occur once in {header}");
        fs::write(mutated.join(header), text.replace(from, to)).expect("a file in OUT_DIR");
        // The mutated header comes first on the include path and hides the original.
        bpf::compile(&harness, &mutated, &[&mutated, &headers]);
        let object = mutated.join("filter_harness.bpf.o");
        objects += &format!("({name:?}, include_bytes!({object:?}).as_slice()),\n");
    }
    fs::write(out.join("mutants.rs"), objects + "]\n").expect("a file in OUT_DIR");
}
