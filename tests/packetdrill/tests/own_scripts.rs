// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays the scripts of this package. `make packetdrill` plays those of the kernel.

use std::fs;
use std::path::Path;

use retrans_lab::{Context, Family, Result, privilege};
use retrans_packetdrill::check::{Report, Traces, Variant};
use retrans_packetdrill::parse::parse;
use retrans_packetdrill::script::Script;
use retrans_sdk::RetransKind::{self, Fast, Fastopen, Rto, SlowStart, Syn, Tlp};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");

/// The scripts, and the kinds of their attempts in order.
const EXPECTED: [(&str, &[RetransKind]); 5] = [
    ("fast_retransmission", &[Fast]),
    ("fastopen_syn", &[Syn, Fastopen]),
    ("slow_start_after_icmp", &[Rto, Rto, SlowStart]),
    ("tail_loss_probe", &[Tlp, Fast]),
    ("timeout", &[Rto, Rto, SlowStart]),
];

fn read(name: &str) -> Result<Script> {
    let path = Path::new(SCRIPTS).join(name).with_extension("pkt");
    parse(name, &fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?)
}

#[test]
fn every_script_is_listed_and_parsed() -> Result<()> {
    let files = fs::read_dir(SCRIPTS).context("cannot read the scripts")?.flatten();
    let mut names: Vec<_> = files.map(|file| file.path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, EXPECTED.map(|(name, _)| name));
    EXPECTED.iter().try_for_each(|(name, _)| read(name).map(drop))
}

/// A timer may expire too late on a busy machine, so that the kernel departs from the script. Then
/// it is played again. An attempt that contradicts the kernel is never repeated.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_kernel_follows_each_script_and_every_attempt_matches() -> Result<()> {
    const RUNS: u32 = 4;
    privilege::check()?;
    let traces = Traces::new()?;
    let mut compared = 0;
    for (name, kinds) in EXPECTED {
        let script = read(name)?;
        // Only IPv4 has the ICMP error.
        for family in Family::ALL.into_iter().filter(|family| name != "slow_start_after_icmp" || *family != Family::V6)
        {
            let variant =
                Variant { script: &script, directory: Path::new(SCRIPTS), family, congestion_control: "reno" };
            for left in (0..RUNS).rev() {
                let report = variant.run(&traces)?;
                let faults: Vec<_> = report.faults().collect();
                assert!(faults.is_empty(), "{faults:#?}");
                if left == 0 || (report.is_followed() && kinds_of(&report) == kinds) {
                    assert!(report.is_followed(), "{variant}: {:#?}", report.played);
                    assert_eq!(kinds_of(&report), kinds, "{variant}");
                    compared += report.compared;
                    break;
                }
                eprintln!("repeated: {variant}: {:?}", report.played.differences);
            }
        }
    }
    assert_eq!(traces.lost()?, 0);
    // Only attempts of an idle CPU may lack a stack.
    assert!(compared > 0, "no kind was compared with a call stack");
    Ok(())
}

fn kinds_of(report: &Report) -> Vec<RetransKind> {
    report.events.iter().map(|event| event.kind).collect()
}
