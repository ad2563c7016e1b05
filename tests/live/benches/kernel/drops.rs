// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the program that records drops, for packets that are not of an attempt. It runs for
//! every packet that the host drops.

use std::net::{SocketAddr, UdpSocket};
use std::process;

use retrans_lab::{Context, Error, Family, Pair, Result};
use retrans_sdk::{FieldSet, Stream};
use retrans_tests::bench::{Bars, median};

use crate::REPETITIONS;
use crate::run_time::{Measuring, Runs, between, descriptors_of, programs};
use crate::sandwich;

/// The number of dropped packets of a sample.
const PACKETS: u64 = 50_000;

/// The place of the drop: the hook of the rule, and whether it is on the client. A received packet
/// belongs to no socket, and a sent one to its socket.
const PLACES: [(&str, &str, bool); 2] = [("no_socket", "input", false), ("udp_socket", "output", true)];

pub(crate) fn measure(bars: &mut Bars) -> Result<()> {
    for (name, hook, is_client) in PLACES {
        let pair = Pair::new()?;
        let ns = if is_client { pair.client() } else { pair.server() };
        ns.command(
            "nft",
            &[&format!(
                "add table inet bench; add chain inet bench c {{ type filter hook {hook} priority 0; }}; \
                 add rule inet bench c meta l4proto udp drop"
            )],
        )?;
        let socket = pair.client().run(|| UdpSocket::bind((pair.client_addr(Family::V4), 0)));
        let socket = socket.context("cannot bind")?;
        let target = SocketAddr::new(pair.server_addr(Family::V4), 9);
        let (mut empty, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            empty.push(once(&socket, target, sandwich::empty_drop)?);
            ours.push(once(&socket, target, || {
                let fields = FieldSet::default() | FieldSet::drops();
                Stream::builder().fields(fields).open().context("cannot open a stream")
            })?);
        }
        let (empty, ours) = (median(&empty), median(&ours));
        println!(
            "measured=drops by=bpf_stats packet={name} empty_ns={empty:.1} drops_ns={ours:.1} packets={PACKETS} \
             repetitions={REPETITIONS}"
        );
        bars.at_most(&format!("foreign_drop_{name}_per_empty"), ours / empty, 1.3);
    }
    Ok(())
}

/// Returns the mean time of the programs per dropped packet, in nanoseconds.
fn once<T>(socket: &UdpSocket, target: SocketAddr, attach: impl FnOnce() -> Result<T>) -> Result<f64> {
    let before = descriptors_of(process::id())?;
    let _attached = attach()?;
    let descriptors = &descriptors_of(process::id())? - &before;
    let _measuring = Measuring::begin()?;
    let earlier = programs(&descriptors)?;
    for _ in 0..PACKETS {
        // A packet that a rule at the output drops is an error here.
        let _ = socket.send_to(b"x", target);
    }
    let Runs { count, ns } = between(&earlier, &programs(&descriptors)?)?;
    if count < PACKETS / 2 {
        return Err(Error::new(format!("the programs ran only {count} times for {PACKETS} packets")));
    }
    Ok(ns as f64 / count as f64)
}
