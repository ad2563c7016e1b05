// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the scenarios as on a kernel without modules.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use retrans_lab::command::{Ended, end_of};
use retrans_lab::observe::open;
use retrans_lab::{
    Discard, Family, KernelSupport, Outcome, Probes, Refusal, ScenarioRun, TraceInstance, Trial, WindowFault,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const OUTCOMES: [Outcome; 15] = [
    // Policy rules and BPF programs instead of nftables,
    Outcome::Fast,
    Outcome::RcvZeroWindow(WindowFault::Mangled),
    Outcome::Denied(Refusal::Drop),
    Outcome::XmitDrop(Discard::Egress),
    // another qdisc than tbf,
    Outcome::XmitDrop(Discard::Qdisc),
    // a hidden neighbour,
    Outcome::Resume,
    Outcome::DuplicateAckInLoss,
    // and a link instead of TUN.
    Outcome::PartialAck,
    Outcome::ZeroWindow,
    Outcome::MtuCut,
    Outcome::RcvZeroWindow(WindowFault::Peer),
    Outcome::FragNomem,
    Outcome::SlowStart,
    Outcome::MtuCutInLoss,
    Outcome::OrphanZeroWindow,
];

/// The programs that the lab runs, except `nft` and `tc`.
const OTHERS: [&str; 4] = ["ip", "sh", "rmdir", "sleep"];

#[test]
#[ignore = "live: needs root, run by make test"]
fn outcomes() -> Result {
    let support = KernelSupport::probe();
    let (lacking, possible): (Vec<_>, Vec<_>) =
        OUTCOMES.into_iter().partition(|outcome| support.missing_for(*outcome).is_some());
    println!("lacking={}", lacking.len());
    // Since then cgroup BPF programs can identify namespaces.
    assert!(lacking.is_empty() || !is_at_least(6, 15)?, "{lacking:?}");
    for probes in Probes::ALL {
        let of = |outcome| Family::ALL.map(|family| Trial { outcome, family, probes });
        let with_setting = possible.iter().copied().filter(|outcome| outcome.settings().contains(&probes));
        let wanted: Vec<_> = with_setting.flat_map(of).collect();
        for run in ScenarioRun::run_all(&mut open()?, &mut TraceInstance::new()?, &wanted, |_| {})? {
            run.verify_undisturbed()?;
        }
    }
    Ok(())
}

/// Returns whether the running kernel is of this series or newer.
fn is_at_least(major: u32, minor: u32) -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut parts = release.trim().split(['.', '-']).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(is)), Some(Ok(of))) => Ok((is, of) >= (major, minor)),
        _ => Err(format!("not a release: {release}").into()),
    }
}

/// Runs `outcomes` without `nft`, without tbf, and without /dev/net/tun.
#[test]
#[ignore = "live: needs root, run by make test"]
fn outcomes_without_nft_tbf_and_tun() -> Result {
    let bin = Bin::new()?;
    for program in OTHERS {
        symlink(in_path(program)?, bin.0.join(program))?;
    }
    let refuses = |what: &str, script: &str| -> Result {
        fs::write(bin.0.join(what), format!("#!/bin/sh\n{script}\n"))?;
        Ok(fs::set_permissions(bin.0.join(what), fs::Permissions::from_mode(0o755))?)
    };
    refuses("nft", "echo 'nft: not here' >&2; exit 1")?;
    let tc = in_path("tc")?;
    refuses("tc", &format!("case \"$*\" in *tbf*) exit 2;; esac; exec {} \"$@\"", tc.display()))?;

    let mut again = Command::new(in_path("unshare")?);
    again.args(["--mount", in_path("sh")?.to_str().ok_or("a path")?, "-ec"]);
    // Hidden for this one process.
    again.arg(format!("[ ! -d /dev/net ] || {} -t tmpfs none /dev/net; exec \"$@\"", in_path("mount")?.display()));
    again.arg("sh").arg(env::current_exe()?).args(["--ignored", "--exact", "outcomes"]).env("PATH", &bin.0);
    let Ended { status, stdout, stderr } = end_of(Duration::from_secs(120), again)?;
    assert!(status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
    Ok(())
}

/// A directory for programs.
struct Bin(PathBuf);

impl Bin {
    fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("retrans-without-modules-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn in_path(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").ok_or("no PATH")?;
    let found = env::split_paths(&path).map(|folder| folder.join(program)).find(|at| at.is_file());
    found.ok_or_else(|| format!("no {program}").into())
}
