// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks whether the lab can run here.

use std::env;
use std::fs;

use crate::{Context, Error, Netns, Result};

/// The effective capabilities that the lab requires, by number.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// The programs that the lab runs.
const PROGRAMS: [&str; 4] = ["ip", "nft", "sh", "tc"];

/// Checks that this thread can create and configure network namespaces.
///
/// # Errors
/// Returns an error with the reason, worded for the person who ran the test.
pub fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/thread-self/status").context("cannot read /proc/thread-self/status")?;
    let missing = missing_capabilities(&status)?;
    if !missing.is_empty() {
        return Err(Error::new(format!("the lab requires root: missing {}", missing.join(" and "))));
    }
    let absent: Vec<_> = PROGRAMS.into_iter().filter(|p| !is_in_path(p)).collect();
    if !absent.is_empty() {
        return Err(Error::new(format!("the lab requires programs that are not in PATH: {}", absent.join(", "))));
    }
    // Capabilities do not suffice: a container's seccomp filter may reject the calls, and its
    // /proc/sys may be read-only.
    Netns::new()?.sysctl("net/ipv4/tcp_early_retrans", "0")
}

fn missing_capabilities(status: &str) -> Result<Vec<&'static str>> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let effective = effective.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let effective = effective.ok_or_else(|| Error::new("no CapEff in /proc/thread-self/status"))?;
    Ok(NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect())
}

fn is_in_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::missing_capabilities;

    #[test]
    fn reads_effective_capabilities() {
        let status = |eff| format!("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{eff}\n");
        assert!(missing_capabilities(&status("000001ffffffffff")).unwrap().is_empty());
        assert_eq!(missing_capabilities(&status("0000000000001000")).unwrap(), ["CAP_SYS_ADMIN"]);
        assert_eq!(missing_capabilities(&status("0000000000000000")).unwrap(), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert!(missing_capabilities(&status("no")).is_err());
        assert!(missing_capabilities("").is_err());
    }
}
