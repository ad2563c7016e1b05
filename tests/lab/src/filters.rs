// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters that are demanding for the BPF verifier.

use retrans_sdk::Filter;
use retrans_sdk::event::keys;

/// Returns the keys whose terms the kernel evaluates.
pub fn kernel_keys() -> Vec<&'static str> {
    let is_decided = |filter: Filter| filter.event_only().next().is_none();
    keys().filter(|key| format!("{key}=-").parse().is_ok_and(is_decided)).collect()
}

/// Returns filters that are demanding in different ways: every key, each field repeatedly, the
/// maximum number of tests, everything that needs a separate loop.
pub fn demanding() -> Vec<String> {
    let all = kernel_keys();
    let of_keys = |keys: &[&str]| keys.iter().map(|key| format!("{key}!=-")).collect::<Vec<_>>().join(" ");
    let sixteen = |clause: &str| vec![clause; 16].join(" --or ");
    let numbers: Vec<_> = (1..=512).map(|number| number.to_string()).collect();
    let addresses = "10.0.0.0/8,fd00::/72,fd01::/96,192.0.2.0/24,fd02::1";
    let cgroups: Vec<_> = (1..=16).map(|id| format!("cgroup={id}/ cookie!=mine")).collect();
    vec![
        of_keys(&all),
        // The maximum number of tests. No test follows a test of the same key.
        sixteen(&of_keys(&all[..32])),
        sixteen(&of_keys(&all[all.len() - 32..])),
        format!("sport={}", numbers.join(",")),
        sixteen(&format!("saddr={addresses} daddr!={addresses}")),
        sixteen("netns=1,-,2 ca_name=cubic,bbr cookie=1,mine ts=1..2 uid!=0"),
        cgroups.join(" --or "),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn demanding_filters_parse() {
        for text in super::demanding() {
            text.parse::<retrans_sdk::Filter>().unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
