// SPDX-License-Identifier: MIT OR Apache-2.0
//! A generated table compiles, and passes the check against the enum from which it is generated.
//!
//! `UPDATE=1` regenerates the file.

#![cfg(feature = "check")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use retrans_sdk::check::{self, EnumSource};

#[allow(unreachable_pub, reason = "a tool may export its tables")]
mod generated {
    include!("generated/drop_reason.rs");
}
use generated::DropReason;

const ENUM: &str = "drop_reason";
const PREFIX: &str = "DROP_REASON_";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generated")
}

#[test]
fn the_file_is_up_to_date() {
    // The source is an object, which has no path, so the file is the same on every machine.
    let object = object(&folder().join("drop_reason.h"));
    let source = check::generate_table(EnumSource::Object(&object), ENUM, None).expect("a table");
    let file = folder().join("drop_reason.rs");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &source).expect("a file in the tree");
    }
    assert_eq!(fs::read_to_string(file).expect("it is in the tree"), source);
}

#[test]
fn the_table_passes_the_check_against_header_and_btf() {
    let header = folder().join("drop_reason.h");
    let reports = [
        check::table_in_header::<DropReason>(&header, ENUM, PREFIX),
        check::table_in_object::<DropReason>(&object(&header), ENUM, PREFIX),
    ];
    for report in reports.map(|report| report.expect("an enum")) {
        assert!(report.passed(), "{report}");
        let only: Vec<_> = report.kernel_only.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            only,
            ["DROP_REASON_ALIAS", "DROP_REASON_MAX", "DROP_REASON_SUBSYS_MASK", "DROP_REASON_LARGE"],
            "{report}"
        );
    }
}

#[test]
fn btf_and_header_generate_the_same_table() {
    let header = folder().join("drop_reason.h");
    let from = |source| {
        let source = check::generate_table(source, ENUM, Some(PREFIX)).expect("a table");
        source.split_once('\n').map(|(_, rest)| rest.to_owned()).expect("lines")
    };
    assert_eq!(from(EnumSource::Object(&object(&header))), from(EnumSource::Header(&header)));
}

#[test]
fn values_are_the_enumerators_in_lower_case() {
    let row = |c_name: &str| DropReason::ALL.iter().find(|row| row.c_name == Some(c_name)).expect(c_name);
    assert_eq!(DropReason::KEY, "drop_reason");
    for (c_name, value) in [
        ("DROP_REASON_NOT_SPECIFIED", "not_specified"),
        ("DROP_REASON_TCP_3WAY", "tcp_3way"),
        ("DROP_REASON_RFC7323_PAWS", "rfc7323_paws"),
        ("DROP_REASON_Mixed_Case", "mixed_case"),
        ("DROP_REASON_SELF", "self"),
        ("DROP_REASON_UNKNOWN", "unknown"),
        ("DROP_REASON_K17", "reason_9"),
        ("DROP_REASON_8021Q", "reason_10"),
        ("DROP_REASON_NO_MEMORY_TO_COPY_THE_WHOLE_HEADER", "no_memory_to_copy_the_whole_head"),
        ("DROP_REASON_NO_MEMORY_TO_COPY_THE_WHOLE_HEADROOM", "reason_12"),
    ] {
        assert_eq!(row(c_name).value, value);
    }
}

/// Returns the bytes of an object whose source uses the enum.
fn object(header: &Path) -> Vec<u8> {
    // Each run and each test uses its own folder.
    let folder =
        env::temp_dir().join(format!("retrans-generate-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&folder).expect("a folder in the temporary directory");
    let (c, object) = (folder.join("use.c"), folder.join("use.o"));
    let source = format!("#include {header:?}\nvolatile enum {ENUM} why;\n");
    fs::write(&c, source).expect("a file in the temporary directory");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let built = Command::new(clang).args(["-g", "-O2", "-target", "bpf", "-c"]).arg(&c).arg("-o").arg(&object).status();
    assert!(built.expect("clang, which built this crate").success());
    let bytes = fs::read(&object).expect("the object just built");
    fs::remove_dir_all(folder).expect("the folder just made");
    bytes
}
