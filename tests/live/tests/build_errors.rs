// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SDK's build script without a suitable clang, with a clang that warns, and without rustfmt.
//! The tests run the script as cargo runs it, with fake compilers.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::iter;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value as Json;

const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../retrans-sdk");

/// The build script that was built with the SDK.
static BUILD_SCRIPT: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "retrans-sdk", "--message-format", "json"])
        .current_dir(SDK)
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = str::from_utf8(&built.stdout).expect("text").lines();
    let messages = messages.map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let is_it = |message: &Json| {
        let target = &message["target"];
        message["reason"] == "compiler-artifact"
            && target["kind"][0] == "custom-build"
            && target["src_path"].as_str().is_some_and(|path| path.ends_with("/retrans-sdk/build.rs"))
    };
    let artifact = messages.into_iter().find(is_it).expect("the SDK has a build script");
    artifact["filenames"][0].as_str().expect("a path").into()
});

/// Creates an empty directory for this test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-errors").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder of an earlier run");
    }
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

/// Creates a script that is run as `clang`.
fn clang(name: &str, script: &str) -> PathBuf {
    program("clang", &folder(name), script)
}

/// Creates a script in `folder`.
fn program(name: &str, folder: &Path, script: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the folder just made");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the file just written");
    path
}

/// Runs the build script with this `CLANG`, or `None`, and this `PATH`.
fn run(clang: Option<&Path>, path: &OsStr, out: &Path) -> Output {
    let mut script = Command::new(&*BUILD_SCRIPT);
    script.current_dir(SDK).env("CARGO_MANIFEST_DIR", SDK).env("OUT_DIR", out).env("PATH", path);
    script.env_remove("CLANG").env_remove("DOCS_RS");
    if let Some(clang) = clang {
        script.env("CLANG", clang);
    }
    script.output().expect("the build script runs")
}

/// Returns `PATH` with `folder` as its first entry.
fn path_with(folder: &Path) -> OsString {
    let path = env::var_os("PATH").expect("PATH is set");
    env::join_paths(iter::once(folder.to_owned()).chain(env::split_paths(&path))).expect("no colon in a path")
}

/// Runs the build script, which must succeed. Returns the warnings that cargo would show.
fn warnings(clang: Option<&Path>, path: &OsStr, out: &Path) -> Vec<String> {
    let output = run(clang, path, out);
    let (said, panicked) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("cargo::error="), "{said}{panicked}");
    let skeleton = fs::read_to_string(out.join("retrans.skel.rs")).expect("the generated skeleton");
    assert!(skeleton.contains("RetransSkelBuilder"), "{skeleton}");
    assert!(out.join("owners.bpf.o").exists() && out.join("types.rs").exists(), "{said}");
    said.lines().filter_map(|line| line.strip_prefix("cargo:warning=")).map(str::to_owned).collect()
}

/// Returns the build script's error with this `CLANG` and this `PATH`.
fn complaint(clang: Option<&Path>, path: &OsStr) -> String {
    let output = run(clang, path, Path::new("/nonexistent"));
    let (said, panicked) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Otherwise cargo would show the whole output, with the error somewhere in it.
    assert!(output.status.success() && panicked.is_empty(), "{said}{panicked}");
    let complaint = said.lines().find_map(|line| line.strip_prefix("cargo::error="));
    complaint.unwrap_or_else(|| panic!("no complaint: {said}")).to_owned()
}

/// Verifies an error: the problem `what`, the requirement, and how to install clang.
fn complains(clang: &Path, what: &str) {
    let said = complaint(Some(clang), &env::var_os("PATH").expect("PATH is set"));
    let (before, after) =
        said.split_once(": the BPF programs require clang 14 or newer with the BPF target. ").expect(&said);
    assert_eq!(before, what);
    assert!(
        after.starts_with("Debian, Ubuntu: apt-get install clang. Fedora: dnf install clang. Or CLANG="),
        "{after}"
    );
}

#[test]
fn clang_is_missing() {
    let said = complaint(None, folder("empty").as_os_str());
    assert!(said.starts_with("there is no clang on PATH: the BPF programs require clang 14 or newer"), "{said}");
    complains(Path::new("/nonexistent/clang"), "there is no CLANG=/nonexistent/clang");
}

#[test]
fn first_clang_on_the_path_is_too_old() {
    let old = clang("on-the-path", "echo 'Debian clang version 11.0.1-2'");
    let said = complaint(None, old.parent().expect("a folder").as_os_str());
    assert!(said.starts_with("clang is clang 11.0.1-2, which is too old: "), "{said}");
}

#[test]
fn clang_is_too_old() {
    let old = clang("old", "echo 'Ubuntu clang version 13.0.1-2ubuntu2.2'; echo 'Target: x86_64-pc-linux-gnu'");
    complains(&old, &format!("CLANG={} is clang 13.0.1-2ubuntu2.2, which is too old", old.display()));
}

#[test]
fn program_is_not_clang() {
    let gcc = clang("gcc", "echo 'gcc (Debian 12.2.0-14) 12.2.0'");
    let what = "is not clang; --version prints \"gcc (Debian 12.2.0-14) 12.2.0\"";
    complains(&gcc, &format!("CLANG={} {what}", gcc.display()));
    let mute = clang("mute", "exit 1");
    complains(&mute, &format!("CLANG={} is not clang; --version prints \"nothing\"", mute.display()));
}

#[test]
fn clang_cannot_be_run() {
    let text = clang("text", "");
    fs::set_permissions(&text, Permissions::from_mode(0o644)).expect("the file just written");
    complains(&text, &format!("CLANG={} cannot be run (Permission denied (os error 13))", text.display()));
}

#[test]
fn clang_lacks_the_bpf_target() {
    // The message of a clang built with LLVM_TARGETS_TO_BUILD=X86.
    let only_x86 = clang(
        "only-x86",
        "[ \"$1\" != --version ] || { echo 'clang version 19.1.7'; exit; }
        echo \"error: unable to create target: 'No available targets are compatible with triple \\\"bpf\\\"'\" >&2; exit 1",
    );
    let what = "cannot compile for BPF: \"error: unable to create target: 'No available targets are compatible \
        with triple \\\"bpf\\\"'\"";
    complains(&only_x86, &format!("CLANG={} {what}", only_x86.display()));
}

#[test]
fn rustfmt_is_not_used() {
    let out = folder("rustfmt");
    let used = out.join("used");
    // rustup's proxy in a toolchain with the minimal profile.
    let script = format!(
        "touch '{}'; echo \"error: 'rustfmt' is not installed for the toolchain 'stable'\" >&2; exit 1",
        used.display(),
    );
    program("rustfmt", &out, &script);
    let warnings = warnings(env::var_os("CLANG").as_deref().map(Path::new), &path_with(&out), &out);
    assert!(!used.exists(), "rustfmt ran");
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn warning_of_clang_is_shown_and_is_not_an_error() {
    let out = folder("warning");
    let real = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    // As a newer clang, it warns of something that is not in -Wall or -Wextra.
    let newer = program("clang", &out, &format!("exec {real} -Wreserved-macro-identifier \"$@\""));
    let path = env::var_os("PATH").expect("PATH is set");
    let warnings = warnings(Some(&newer), &path, &out);
    assert!(
        warnings.iter().any(|line| line.contains("warning: ") && line.contains("-Wreserved-macro")),
        "{warnings:?}"
    );
}
