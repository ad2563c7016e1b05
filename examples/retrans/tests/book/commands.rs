// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that each program in an `sh` block is known, and that what belongs to this project
//! exists. Runs the commands that require no privilege and change nothing.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::page::{Page, pages, root};
use crate::words::{Simple, lines, programs};

/// Programs that require no privilege and change nothing, with the arguments in the book.
const RUN: [&str; 10] = ["cat", "cut", "ip", "ls", "lsns", "nstat", "ss", "sysctl", "tc", "uname"];

/// Other programs, and the Debian package of each. They require privileges, or what this machine
/// does not have.
const NAMED: [(&str, &str); 17] = [
    ("apt-get", "apt"),
    ("bpftool", "bpftool"),
    ("conntrack", "conntrack"),
    ("echo", "coreutils"),
    ("install", "coreutils"),
    ("iptables-save", "iptables"),
    ("journalctl", "systemd"),
    ("mkdir", "coreutils"),
    ("nft", "nftables"),
    ("perf", "linux-perf"),
    // examples/fleet/tests/docs.rs checks its options.
    ("retrans-agent", "examples/fleet"),
    ("rustup", "rustup"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("systemctl", "systemd"),
    ("tee", "coreutils"),
    ("timeout", "coreutils"),
];

/// The variables that the book uses for the values of an event.
const VALUES: [(&str, &str); 6] =
    [("saddr", "127.0.0.1"), ("sport", "1"), ("daddr", "127.0.0.1"), ("dport", "443"), ("dev", "lo"), ("mark", "0")];

/// Returns every command of every `sh` block, with its location.
fn each_line(page: &Page) -> Vec<(String, String)> {
    let blocks = page.blocks_that(|info| info == "sh");
    blocks.flat_map(|block| lines(block.text).into_iter().map(move |line| (page.at(&block), line))).collect()
}

#[test]
fn each_command_is_known() {
    let mut count = 0;
    for page in pages() {
        for (at, line) in each_line(&page) {
            for program in programs(&line) {
                if let Err(why) = is_known(&page, &program) {
                    panic!("{at}: {line}: {why}");
                }
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count}");
}

pub(crate) fn is_known(page: &Page, program: &Simple) -> Result<(), String> {
    let words = &program.words;
    // Possibly after a program that runs it.
    if let Some(at) = words.iter().position(|word| word.starts_with("target/")) {
        let runner = &words[0];
        if at > 0 && !is_named(runner) {
            return Err(format!("{runner} is unknown"));
        }
        // These two only use the file.
        if at > 0 && matches!(&**runner, "install" | "setcap") {
            return is_built(page, &words[at]).then_some(()).ok_or_else(|| format!("nothing builds {}", words[at]));
        }
        let name = words[at].rsplit('/').next().unwrap_or_default();
        if is_new(page, name) {
            return Ok(());
        }
        return crate::programs::accepts(name, &words[at + 1..]);
    }
    match &*words[0] {
        "make" => make(&words[1..]),
        "cargo" => cargo(&words[1..]),
        "cd" if words.len() == 2 && is_new(page, &words[1]) => Ok(()),
        "nsenter" => is_known(page, &Simple { is_root: true, words: words[4..].to_vec() }),
        "env" => {
            let words = words[1..].iter().skip_while(|word| word.contains('=')).cloned().collect();
            is_known(page, &Simple { is_root: program.is_root, words })
        }
        "docker" | "kubectl" => in_container(words),
        name if RUN.contains(&name) || is_named(name) => Ok(()),
        name => Err(format!("{name} is unknown")),
    }
}

/// Checks the files that `docker` or `kubectl` reads, and what it runs in the container.
fn in_container(words: &[String]) -> Result<(), String> {
    if let Some(file) = words.iter().find(|word| word.starts_with("docs/") && !root().join(word).exists()) {
        return Err(format!("no file {file}"));
    }
    let is_run = words.get(1).is_some_and(|word| word == "run");
    let after = |is: fn(&str) -> bool| words.iter().skip_while(|word| !is(word)).skip(1).cloned().collect::<Vec<_>>();
    let arguments = match &*words[0] {
        "docker" if is_run => after(|word| word.starts_with("retrans:")),
        _ => after(|word| word == "--").into_iter().skip_while(|word| word == "retrans").collect(),
    };
    if arguments.is_empty() { Ok(()) } else { crate::programs::accepts("retrans", &arguments) }
}

fn is_named(name: &str) -> bool {
    NAMED.iter().any(|(known, _)| *known == name)
}

/// Returns whether the page has created a crate of that name.
fn is_new(page: &Page, name: &str) -> bool {
    page.text.contains(&format!("cargo new {name}\n"))
}

fn is_built(page: &Page, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    is_new(page, name) || crate::programs::built(name).is_some()
}

fn make(arguments: &[String]) -> Result<(), String> {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("the Makefile");
    for argument in arguments {
        let is_there = match argument.split_once('=') {
            Some((variable, _)) => ["?=", ":="]
                .iter()
                .any(|sign| makefile.lines().any(|line| line.starts_with(&format!("{variable} {sign}")))),
            None => makefile.lines().any(|line| line.starts_with(&format!("{argument}:"))),
        };
        if !is_there {
            return Err(format!("the Makefile has no {argument}"));
        }
    }
    Ok(())
}

fn cargo(arguments: &[String]) -> Result<(), String> {
    let subcommand = arguments.first().map(String::as_str).unwrap_or_default();
    let after = |option: &str| arguments.iter().skip_while(|word| *word != option).nth(1);
    match subcommand {
        "build" | "doc" | "fetch" | "new" | "run" | "test" | "vendor" => {}
        "install" => {
            let path = after("--path").ok_or("cargo install: no --path")?;
            if !root().join(path).join("Cargo.toml").exists() {
                return Err(format!("no package in {path}"));
            }
        }
        "add" => return crate::manifests::adds(&arguments[1..]),
        _ => return Err(format!("cargo {subcommand} is unknown here")),
    }
    if let Some(package) = after("--package")
        && crate::manifests::package(package).is_none()
    {
        return Err(format!("no package {package}"));
    }
    match after("--bin") {
        Some(name) if crate::programs::built(name).is_none() => Err(format!("no program {name}")),
        _ => Ok(()),
    }
}

#[test]
fn commands_that_require_no_privilege_are_run() {
    let mut count = 0;
    for page in pages() {
        for (at, line) in each_line(&page) {
            let programs = programs(&line);
            if programs.iter().any(|program| program.is_root || !RUN.contains(&&*program.words[0])) {
                continue;
            }
            let words = || programs.iter().flat_map(|program| &program.words);
            // A kernel may lack the files that a command prints.
            let is_shown = |word: &&String| ["/proc/", "/sys/"].iter().any(|place| word.starts_with(place));
            if words().filter(is_shown).any(|path| !Path::new(path).exists()) || !programs.iter().all(is_installed) {
                eprintln!("{at}: not run here: {line}");
                continue;
            }
            let mut command = Command::new("sh");
            command.args(["-euc", &line]).env("PATH", path()).envs(VALUES).stdin(Stdio::null());
            let output = command.output().expect("a shell");
            assert!(output.status.success(), "{at}: {line}: {}", String::from_utf8_lossy(&output.stderr));
            count += 1;
        }
    }
    // This many do not require iproute2.
    assert!(count > 5, "{count}");
}

/// Returns PATH with the directories of the administrator's programs, which a user's PATH may lack.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}

fn is_installed(program: &Simple) -> bool {
    env::split_paths(&path()).any(|folder| folder.join(&program.words[0]).is_file())
}
