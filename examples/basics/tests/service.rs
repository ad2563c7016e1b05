// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the agent without root, as `docs/retrans-agent.service` describes: with file capabilities,
//! and with the user, capabilities and mounts of the unit.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const UNIT: &str = include_str!("../../../docs/retrans-agent.service");

/// The program to run. With `ARGUMENTS` it ends by itself, and reports on stderr that it is
/// attached.
const PROGRAM: &str = env!("CARGO_BIN_EXE_agent");
const ARGUMENTS: [&str; 2] = ["--for", "0"];

/// One of the user ids that systemd assigns to units with `DynamicUser=`.
const DYNAMIC_USER: &str = "61184";
const NOBODY: &str = "65534";

/// Returns the settings of the unit's `[Service]` section.
fn settings() -> BTreeMap<&'static str, &'static str> {
    let (_, service) = UNIT.split_once("\n[Service]\n").expect("it is a service");
    let service = service.split_once("\n[").map_or(service, |(service, _)| service);
    let mut settings = BTreeMap::new();
    for line in service.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once('=').expect("a setting");
        assert_eq!(settings.insert(key, value), None, "duplicate key {key}");
    }
    settings
}

/// Returns a script that applies the unit's file system settings. It expects a mount namespace of
/// its own, and runs its arguments at the end.
fn confinement(settings: &BTreeMap<&str, &str>) -> String {
    let expect = |key: &str, value: &str| assert_eq!(settings.get(key), Some(&value), "the script implements {value}");
    // Left out: PrivateTmp and ProtectHome, which would hide this program, and all filters of
    // system calls, which are not available without systemd.
    expect("ProtectSystem", "strict");
    expect("ProtectControlGroups", "yes");
    expect("ProtectKernelTunables", "yes");
    expect("PrivateDevices", "yes");
    "set -e
    none=$1; shift
    for folder in / /sys $(awk '$5 ~ /^\\/sys\\/fs\\/cgroup/ { print $5 }' /proc/self/mountinfo); do
        mount -o remount,bind,ro $folder
    done
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mount --bind $none /proc/kallsyms
    mount -t tmpfs dev /dev
    mknod -m 666 /dev/null c 1 3
    exec \"$@\""
        .to_owned()
}

/// Converts `CAP_BPF CAP_PERFMON` to what setpriv requires: `-all,+bpf,+perfmon`. Leaves out `but`.
fn capabilities(of_unit: &str, but: Option<&str>) -> String {
    let names = of_unit.split_whitespace().filter(|&name| Some(name) != but);
    let names = names.map(|name| name.strip_prefix("CAP_").expect("a capability").to_lowercase());
    names.fold("-all".to_owned(), |all, name| format!("{all},+{name}"))
}

/// Runs a program with the unit's user, capabilities and mounts, but without the capability `but`.
fn under_the_unit(but: Option<&str>, program: &[&str]) -> Output {
    let settings = settings();
    assert_eq!((settings["DynamicUser"], settings["NoNewPrivileges"]), ("yes", "yes"));
    let ambient = capabilities(settings["AmbientCapabilities"], but);
    let bounding = capabilities(settings["CapabilityBoundingSet"], but);

    let folder = tempfile::tempdir().expect("a folder in the temporary directory");
    let none = folder.path().join("none");
    fs::write(&none, "").expect("the folder just made");
    fs::set_permissions(&none, Permissions::from_mode(0o000)).expect("the file just written");

    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &confinement(&settings), "sh"]).arg(&none);
    command.args(["setpriv", "--reuid", DYNAMIC_USER, "--regid", DYNAMIC_USER, "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps", &ambient, "--ambient-caps", &ambient, "--bounding-set", &bounding]);
    run(command.args(program))
}

fn agent_under_the_unit(but: Option<&str>) -> Output {
    under_the_unit(but, &[PROGRAM, ARGUMENTS[0], ARGUMENTS[1]])
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("util-linux is installed")
}

fn is_attached(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.starts_with("ready source="), "{said}");
}

fn lacks(output: &Output, capability: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!(": missing {capability}: ")), "{said}");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_agent_attaches_under_the_unit() {
    is_attached(&agent_under_the_unit(None));
}

/// Without an effective confinement, the other tests would prove nothing.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_confinement_of_the_unit_is_effective() {
    let holds = |what: &str| {
        let output = under_the_unit(None, &["sh", "-c", what]);
        assert!(output.status.success(), "{what}: {output:?}");
    };
    holds("[ \"$(id -u)$(id -g)$(id -G)\" = 611846118461184 ]");
    holds("grep -q '^NoNewPrivs:.1$' /proc/self/status");
    // Bits 38 (CAP_PERFMON) and 39 (CAP_BPF), and no others.
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        holds(&format!("grep -q '^{set}:.000000c000000000$' /proc/self/status"));
    }
    for mount in ["/", "/sys", "/proc/sys"] {
        holds(&format!(
            "awk '$5 == \"{mount}\" {{ options = $6 }} END {{ exit options !~ /^ro/ }}' /proc/self/mountinfo"
        ));
    }
    holds("! cat /proc/kallsyms; [ \"$(ls /dev)\" = null ]");
    holds("[ -s /sys/kernel/btf/vmlinux ]");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn each_capability_of_the_unit_is_required() {
    lacks(&agent_under_the_unit(Some("CAP_BPF")), "CAP_BPF");
    lacks(&agent_under_the_unit(Some("CAP_PERFMON")), "CAP_PERFMON");
}

/// Runs the `setcap` command of the unit on a copy of the program.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_agent_attaches_with_file_capabilities() {
    let line =
        UNIT.lines().find_map(|line| line.strip_prefix("#     sudo setcap ")).expect("the unit contains the command");
    let capabilities = line.strip_suffix(" /usr/local/bin/retrans-agent").expect("the path of the program");

    let folder = tempfile::tempdir().expect("a folder in the temporary directory");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the folder just made");
    let program = folder.path().join("retrans-agent");
    fs::copy(PROGRAM, &program).expect("the folder just made");
    lacks(&as_nobody(&program), "CAP_BPF and CAP_PERFMON");

    setcap(capabilities, &program);
    is_attached(&as_nobody(&program));
    setcap("cap_bpf=ep", &program);
    lacks(&as_nobody(&program), "CAP_PERFMON");
    setcap("cap_perfmon=ep", &program);
    lacks(&as_nobody(&program), "CAP_BPF");

    // A copy has no capabilities, as the unit states.
    setcap(capabilities, &program);
    let copy = folder.path().join("copy");
    fs::copy(&program, &copy).expect("the folder just made");
    lacks(&as_nobody(&copy), "CAP_BPF and CAP_PERFMON");
}

fn setcap(capabilities: &str, program: &Path) {
    let set =
        Command::new("setcap").arg(capabilities).arg(program).output().expect("setcap is installed (libcap2-bin)");
    assert!(set.status.success(), "{set:?}");
}

/// Runs a program as an unprivileged user, so that only the file's capabilities apply.
fn as_nobody(program: &Path) -> Output {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps", "-all"]);
    run(setpriv.arg(program).args(ARGUMENTS))
}

#[test]
fn the_unit_requests_exactly_two_capabilities() {
    let settings = settings();
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(settings[key], "CAP_BPF CAP_PERFMON", "{key}");
    }
    assert_eq!(capabilities("CAP_BPF CAP_PERFMON", None), "-all,+bpf,+perfmon");
    assert_eq!(capabilities("CAP_BPF CAP_PERFMON", Some("CAP_BPF")), "-all,+perfmon");
}

/// Each paragraph of settings begins with a comment that states the reason.
#[test]
fn the_unit_explains_its_settings() {
    let (_, service) = UNIT.split_once("\n[Service]\n").expect("it is a service");
    let service = service.split_once("\n\n[Install]").expect("it can be enabled").0;
    for paragraph in service.split("\n\n").skip(1) {
        assert!(paragraph.starts_with("# "), "{paragraph}");
    }
}
