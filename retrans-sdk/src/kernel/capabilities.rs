// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports missing capabilities by name, before the kernel fails with EPERM.

use rustix::thread::{CapabilitySet, capabilities};

use crate::error::{Error, ErrorKind};

/// The instructions that grant the capabilities, as the continuation of a sentence.
const REMEDY: &str = "run as root, or once `sudo setcap cap_bpf,cap_perfmon=ep PROGRAM`, \
     or under systemd `AmbientCapabilities=CAP_BPF CAP_PERFMON`";

/// Checks the capabilities: loading requires CAP_BPF and tracing CAP_PERFMON (Linux 5.8);
/// CAP_SYS_ADMIN includes both.
pub(super) fn check() -> Result<(), Error> {
    let held = capabilities(None).map_err(|errno| Error::system("cannot read the capabilities", errno))?.effective;
    match missing(held) {
        missing if missing.is_empty() => Ok(()),
        missing => {
            let message = format!("missing {}: {REMEDY}", missing.join(" and "));
            Err(Error::new(ErrorKind::MissingCapability, message))
        }
    }
}

fn missing(held: CapabilitySet) -> Vec<&'static str> {
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Vec::new();
    }
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !held.contains(*capability))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        assert_eq!(missing(CapabilitySet::empty()), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(CapabilitySet::BPF), ["CAP_PERFMON"]);
        assert_eq!(missing(CapabilitySet::PERFMON), ["CAP_BPF"]);
        assert!(missing(CapabilitySet::BPF | CapabilitySet::PERFMON).is_empty());
        assert!(missing(CapabilitySet::SYS_ADMIN).is_empty());
    }
}
