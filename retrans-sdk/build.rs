// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles `bpf/retrans.bpf.c` and `bpf/owners.bpf.c` into `OUT_DIR`. It also generates the
//! skeleton of the former and the list of the kernel types that they use.

#[path = "build/bpf.rs"]
mod bpf;
#[path = "build/clang.rs"]
mod clang;

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Composite;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(retrans_docs_only)");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed=build");
    // Cargo checks the files of a directory, and follows the symlink that a checkout contains here.
    println!("cargo:rerun-if-changed=bpf");

    // docs.rs has no clang. The documentation is built without the object and the code that loads
    // it.
    if env::var_os("DOCS_RS").is_some() {
        println!("cargo:rustc-cfg=retrans_docs_only");
        return;
    }

    let clang = match clang::find() {
        Ok(clang) => clang,
        // Cargo prints only this line. After a panic it would print the whole output.
        Err(why) => return println!("cargo::error={why}"),
    };
    bpf::show_warnings();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));

    let (mut retrans, skeleton) = (compiler(&clang, &root, &out, "retrans"), out.join("retrans.skel.rs"));
    finish("retrans", retrans.build_and_generate(skeleton));
    finish("owners", compiler(&clang, &root, &out, "owners").build());
    let types = ["retrans", "owners"].map(|name| types_of(&out.join(format!("{name}.bpf.o"))));
    let types = Vec::from_iter(BTreeSet::from_iter(types.into_iter().flatten()));
    fs::write(out.join("types.rs"), format!("&{types:?}")).expect("OUT_DIR can be written");
}

/// Returns the names of the structures and unions in an object, including those of the kernel. A
/// suffix after `___` is removed: `net___lazy` is listed as `net`.
fn types_of(object: &Path) -> Vec<String> {
    let btf = Btf::from_path(object).expect("an object just built has BTF");
    let essential = |name: &OsStr| Some(name.to_str()?.split("___").next()?.to_owned());
    btf.type_by_kind::<Composite<'_>>().filter_map(|found| essential(found.name()?)).collect()
}

fn compiler(clang: &OsStr, root: &Path, out: &Path, name: &str) -> SkeletonBuilder {
    // For a reproducible build: the object must not contain the paths of this machine.
    let mut prefix_map = OsString::from("-ffile-prefix-map=");
    prefix_map.push(root);
    prefix_map.push("=.");

    // Every clang must emit the same instructions. Newer versions default to v3, whose atomics
    // require Linux 5.12.
    let arguments = [OsString::from("-mcpu=v2"), prefix_map];
    bpf::builder(clang, &root.join(format!("bpf/{name}.bpf.c")), out, arguments)
}

fn finish<E: Display>(name: &str, built: Result<(), E>) {
    if let Err(error) = built {
        panic!("cannot compile bpf/{name}.bpf.c: {error:#}");
    }
}
