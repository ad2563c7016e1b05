// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `doctor` as a user does.

use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::{env, fs};

use serde_json::Value as Json;

fn doctor(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_retrans")).arg("doctor").args(arguments))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("doctor is built")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

/// Returns the value of a key in the first line about a subject.
fn found<'a>(lines: &'a str, about: &str, key: &str) -> Option<&'a str> {
    let line = lines.lines().find(|line| line.split(' ').next() == Some(about))?;
    line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn both_formats_and_the_status_say_the_same() {
    let (kv, json) = (doctor(&[]), doctor(&["--format", "json"]));
    assert_eq!(kv.status.code(), json.status.code());
    let lines = text(&kv.stdout);
    let json: Json = serde_json::from_slice(&json.stdout).expect("JSON");

    let coverage = found(lines, "coverage", "coverage").expect("the coverage");
    assert_eq!(json["coverage"], coverage);
    let status = ["full", "degraded", "unable"].iter().position(|name| *name == coverage);
    assert_eq!(kv.status.code(), status.map(|status| status as i32));
    // On each kernel of the matrix the coverage is full if fexit is available.
    let unobservable = json["attachment"]["unobservable"].as_object().expect("an object");
    assert_eq!(coverage == "full", json["available"]["fexit"]["available"] == true, "{lines}");
    assert_eq!(coverage == "full", unobservable.is_empty(), "{lines}");

    assert_eq!(
        json["attachment"]["source"],
        found(lines, "attached", "source").expect("as root a stream can be opened")
    );
    let unavailable: Vec<_> = json["attachment"]["unavailable"].as_array().expect("a list").iter().collect();
    assert_eq!(lines.lines().filter(|line| line.starts_with("unavailable ")).count(), unavailable.len());
    assert!(unobservable.values().all(serde_json::Value::is_string), "{lines}");
    assert_eq!(json["available"]["btf"]["available"], true);
    assert_eq!(json["capabilities"]["CAP_SYS_ADMIN"], true);
    assert!(lines.lines().all(|line| line.split(' ').skip(1).all(|pair| pair.matches('=').count() == 1)), "{lines}");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_load_time_of_each_method_is_printed() {
    let (kv, json) = (doctor(&[]), doctor(&["--format", "json"]));
    let lines = text(&kv.stdout);
    let json: Json = serde_json::from_slice(&json.stdout).expect("JSON");
    let number = |line: &str, key: &str| -> u64 {
        let value = line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
    };

    let tried: Vec<_> = lines.lines().filter(|line| line.starts_with("tried ")).collect();
    let in_json = json["attachment"]["tried"].as_array().expect("a list");
    assert_eq!(tried.len(), in_json.len());
    for (line, in_json) in tried.iter().zip(in_json) {
        let (method, outcome) = (found(line, "tried", "method"), found(line, "tried", "outcome"));
        assert_eq!((method, outcome), (in_json["method"].as_str(), in_json["outcome"].as_str()), "{lines}");
        assert!(in_json["load_us"].is_u64(), "{in_json}");
    }
    // The last one was attached. Those before it were refused, and are listed as `unavailable`.
    let (taken, refused) = tried.split_last().expect("as root a stream can be opened");
    assert_eq!(found(taken, "tried", "outcome"), Some("attached"));
    let source = found(lines, "attached", "source").expect("as root a stream can be opened");
    assert!(found(taken, "tried", "method").is_some_and(|method| method.split('+').next() == Some(source)), "{lines}");
    for line in refused {
        assert_eq!(found(line, "tried", "outcome"), Some("refused"));
        let method = format!("unavailable method={} ", found(line, "tried", "method").expect("a method"));
        assert!(lines.lines().any(|line| line.starts_with(&method)), "{lines}");
    }

    let opened = lines.lines().find(|line| line.starts_with("opened ")).expect("it was opened");
    let parts = number(opened, "btf_us") + tried.iter().map(|line| number(line, "load_us")).sum::<u64>();
    assert!(number(taken, "load_us") > 0 && number(opened, "btf_us") > 0, "{lines}");
    assert!(number(opened, "total_us") >= parts, "{lines}");
    for key in ["btf_us", "total_us"] {
        assert!(json["attachment"][key].as_u64().is_some_and(|us| us > 0), "{json}");
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn missing_capabilities_are_named() {
    let mut setpriv = Command::new("setpriv");
    setpriv.args([
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--no-new-privs",
        env!("CARGO_BIN_EXE_retrans"),
        "doctor",
    ]);
    let output = run(&mut setpriv);
    let lines = text(&output.stdout);
    assert_eq!((output.status.code(), found(lines, "coverage", "coverage")), (Some(2), Some("unable")), "{lines}");
    assert_eq!(found(lines, "capability", "held"), Some("no"));
    assert!(found(lines, "unable", "why").is_some_and(|why| why.contains("CAP_BPF")), "{lines}");
}

/// Runs doctor in a mount namespace of its own, after a script of `sh`.
fn doctor_after(script: &str, operand: &Path, arguments: &[&str]) -> Output {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-ec", &format!("file=$1; shift; {script}; exec \"$@\""), "sh"]).arg(operand);
    run(unshare.arg(env!("CARGO_BIN_EXE_retrans")).arg("doctor").args(arguments))
}

/// A file that is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, contents: &[u8]) -> Self {
        let scratch = Self(env::temp_dir().join(format!("retrans-doctor-{}-{name}", process::id())));
        fs::write(&scratch.0, contents).expect("a file in the temporary directory");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_cgroup_version_of_the_host_is_printed() {
    // A service of a hybrid host, a container on it, CentOS 7, and none.
    let service = "4:memory:/system.slice\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n";
    let docker = "4:memory:/docker/4f1c\n1:name=systemd:/docker/4f1c\n0::/system.slice/containerd.service\n";
    let cases = [
        ("v2", "0::/\n", None),
        // The mounts are not those of this process, so the directory does not exist.
        ("hybrid", service, Some("a.service")),
        ("hybrid", docker, Some("`/docker/4f1c` of v1 (name=systemd) but in `/system.slice/containerd.service` of v2")),
        ("hybrid", "4:memory:/\n0::/\n", Some("use Filter::current_netns()")),
        ("v1", "4:memory:/docker/4f1c\n", Some("cgroup v2 is not mounted on this host")),
        ("unknown", "", Some("cgroup v2 is not mounted on this host")),
    ];
    for (mode, cgroups, why) in cases {
        let cgroups = Scratch::new("cgroup", cgroups.as_bytes());
        let script = "mount --bind \"$file\" /proc/$$/cgroup";
        let json = doctor_after(script, &cgroups.0, &["--format", "json"]);
        let json: Json = serde_json::from_slice(&json.stdout).expect("JSON");
        let of = &json["cgroups"];
        assert_eq!((&of["mode"], of["meaning"].is_string()), (&Json::from(mode), true), "{json}");
        // Before Linux 5.15 no cgroup is known.
        let reason = of["current_cgroup"]["why"].as_str();
        if !reason.is_some_and(|reason| reason.contains("before Linux 5.15")) {
            assert_eq!(of["current_cgroup"]["available"], why.is_none(), "{json}");
            assert_eq!(reason.zip(why).map(|(reason, why)| reason.contains(why)), why.map(|_| true), "{json}");
        }
        let table = doctor_after(script, &cgroups.0, &["--format", "table"]);
        let line = format!("\n  cgroups        {mode}: ");
        assert!(text(&table.stdout).contains(&line), "{}", text(&table.stdout));
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn btf_is_read_from_a_file_if_the_kernels_own_is_masked() {
    let btf = Scratch::new("btf", &fs::read("/sys/kernel/btf/vmlinux").expect("BTF"));
    let mask = "mount -t tmpfs none /sys/kernel/btf";
    let without = doctor_after(mask, &btf.0, &[]);
    let lines = text(&without.stdout);
    assert_eq!((without.status.code(), found(lines, "coverage", "coverage")), (Some(2), Some("unable")), "{lines}");
    let why = found(lines, "available", "why").expect("the first is btf");
    assert!(why.starts_with("cannot%20open%20/sys/kernel/btf/vmlinux:") && why.contains("masked"), "{lines}");

    let with = doctor_after(mask, &btf.0, &["--format", "json", "--btf", btf.0.to_str().expect("UTF-8")]);
    let json: Json = serde_json::from_slice(&with.stdout).expect("JSON");
    assert_eq!(&json["available"]["btf"]["available"], &Json::from(true), "{json}");
    assert!(json["attachment"]["source"].is_string(), "{json}");
    // Without fexit, only a kernel with its own enum shows everything, if the enum has an
    // enumerator for each allocation site of -ENOMEM.
    let has_enum = json["attachment"]["source"] == "tp_enum";
    let missing = json["attachment"]["unobservable"].as_object().expect("an object");
    assert_eq!(missing.keys().all(|what| what == "nomem_sites"), has_enum, "{json}");
    let coverage = if missing.is_empty() { (Some(0), "full") } else { (Some(1), "degraded") };
    assert_eq!((with.status.code(), json["coverage"].as_str()), (coverage.0, Some(coverage.1)), "{json}");
    let why = json["available"]["fexit"]["why"].as_str();
    assert!(why.is_some_and(|why| why.contains("requires the kernel's own BTF")), "{json}");
}

#[test]
fn unknown_arguments_are_usage_errors() {
    for arguments in [&["--format", "xml"][..], &["what"]] {
        let output = doctor(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
    assert!(text(&doctor(&["--help"]).stdout).contains("Usage: retrans doctor"));
}
