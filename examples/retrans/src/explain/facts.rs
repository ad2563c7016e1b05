// SPDX-License-Identifier: MIT OR Apache-2.0
//! The meanings of the fields of an attempt, in sentences.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use retrans_sdk::Event;
use retrans_sdk::event::{DropReason, KernelStr, TcpState, Transmit};
use retrans_sdk::format::Escaped;
use retrans_sdk::reason_table::{Entry, ReasonTable};

use crate::table::count;

/// The width of the first column.
pub(crate) const WIDTH: usize = 24;

/// Returns fields, each with what it shows.
pub(crate) fn of(event: &Event) -> Vec<(String, String)> {
    let mut facts = vec![
        (event.result.key_val().to_string(), described(event.result.entry(), "A number without a name.")),
        (format!("err={}", event.err.map_or("-".to_owned(), |err| err.to_string())), errno(event.err)),
        (event.kind.key_val().to_string(), described(event.kind.entry(), "A number without a name.")),
    ];
    let mut add = |fact: String, meaning: String| facts.push((fact, meaning));
    let transmit = event.transmit.filter(|transmit| *transmit != Transmit::Unknown);
    if let Some(transmit) = transmit {
        add(transmit.key_val().to_string(), described(transmit.entry(), "A number without a name."));
    }
    add(format!("segs={}", event.segs), format!("{} to send again.", count(event.segs.into(), "segment")));
    // No window was announced yet, and the SYN is no data.
    let has_window = event.state != TcpState::SynSent;
    if let (true, Some(una), Some(next)) = (has_window, event.snd_una, event.snd_nxt) {
        let bytes = next.wrapping_sub(una);
        add("snd_nxt - snd_una".to_owned(), format!("{} sent and not acknowledged.", count(bytes.into(), "byte")));
    }
    if let (true, Some(window)) = (has_window, event.snd_wnd) {
        let meaning = match window {
            0 => "The receiver's window is closed.".to_owned(),
            _ => format!("The receiver accepts {} from snd_una on.", count(window.into(), "byte")),
        };
        add(format!("snd_wnd={window}"), meaning);
    }
    if let Some(retransmits) = event.retransmits.filter(|retransmits| *retransmits > 0) {
        let next = event.rto_us.map(|rto| format!("; the timeout was {} ms", rto / 1000)).unwrap_or_default();
        add(
            format!("retransmits={retransmits}"),
            format!("{} in a row without an acknowledgement{next}.", count(retransmits.into(), "timeout")),
        );
    }
    if let Some(error) = event.sk_err_soft.filter(|error| *error != 0) {
        add(format!("sk_err_soft={error}"), format!("A soft error of the socket: {}.", os_error(error)));
    }
    if let Some(name) = event.ca_name {
        let state = event.ca_state.map(|state| format!(" in the state {state}")).unwrap_or_default();
        let window = event.snd_cwnd.map(|window| format!(", window {}", count(window.into(), "segment")));
        add(format!("ca_name={name}"), format!("Congestion control{state}{}.", window.unwrap_or_default()));
    }
    if let Some(reason) = event.drop_reason {
        let meaning = described(reason.entry(), "A reason without a name in this version.");
        let next = look_at(reason, event.drop_dev.or(event.dev)).map(|commands| format!(" See {commands}."));
        let next = next.unwrap_or_default();
        add(reason.key_val().to_string(), format!("This host dropped the packet. {meaning}{next}"));
    }
    if let Some(place) = event.drop_at {
        add("drop_at".to_owned(), format!("The function of the kernel that dropped it: {}.", place.function()));
    }
    if let Some(device) = event.drop_dev {
        add("drop_dev".to_owned(), format!("The device of the packet then: {}.", Escaped::value(device.as_bytes())));
    }
    if let (Some(index), Some(device)) = (event.oif, event.dev) {
        add(format!("oif={index}"), format!("The device of the route: {}.", Escaped::value(device.as_bytes())));
    }
    if let (Some(pid), Some(comm)) = (event.pid, event.comm) {
        add(format!("pid={pid}"), format!("The process that owns the socket: {}.", Escaped::value(comm.as_bytes())));
    }
    facts
}

/// Returns the commands that show the configuration of the dropper, if there are any.
pub(crate) fn look_at(reason: DropReason, device: Option<KernelStr>) -> Option<String> {
    let name = reason.to_string();
    // The name of a device may contain anything but `/` and white space.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let device = device.filter(|device| device.as_bytes().iter().all(is_plain));
    let device = device.map_or_else(|| "DEV".to_owned(), |device| device.to_string());
    Some(match name.as_str() {
        "NETFILTER_DROP" => "nft list ruleset, and iptables-save -c".to_owned(),
        "BPF_CGROUP_EGRESS" => "bpftool cgroup tree".to_owned(),
        "TC_EGRESS" => format!("tc -s filter show dev {device} egress, and bpftool net show dev {device}"),
        "XFRM_POLICY" => "ip xfrm policy".to_owned(),
        _ if name.starts_with("NEIGH_") => format!("ip -s neigh show dev {device}"),
        _ if ["QDISC_", "FQ_", "CAKE_", "DUALPI2_"].iter().any(|prefix| name.starts_with(prefix)) => {
            format!("tc -s qdisc show dev {device}")
        }
        _ => return None,
    })
}

pub(crate) fn described<T>(entry: Option<&Entry<T>>, otherwise: &str) -> String {
    // The descriptions are documentation, and contain links.
    let text = entry.map_or(otherwise, |entry| entry.description);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain += before;
        let Some((name, after)) = link.split_once(']') else {
            rest = link;
            continue;
        };
        plain += name;
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    (plain + rest).replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn errno(err: Option<i32>) -> String {
    match err {
        None => "The attach method or the text does not report it.".to_owned(),
        Some(0) => "The kernel's function reported success.".to_owned(),
        Some(1) => "NET_XMIT_DROP: a layer below the IP layer dropped the segment.".to_owned(),
        Some(err) => format!("The kernel's function returned: {}.", os_error(err.saturating_neg())),
    }
}

/// Returns the text of an errno, without its number.
fn os_error(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    text.split_once(" (os error").map_or(&*text, |(text, _)| text).to_owned()
}

/// The variables that [`fill_in`] may leave in a command, with their meanings.
pub(crate) const VARIABLES: [(&str, &str); 2] = [
    ("dev", "the interface after `dev` in the output of `ip route get`"),
    ("mark", "the mark of the socket (`SO_MARK`), 0 unless set"),
];

/// Replaces the variables of a command that the attempt contains. The values are addresses and
/// numbers, which a shell does not interpret. A value that is part of a quoted text stays quoted.
pub(crate) fn fill_in(command: &str, event: &Event) -> String {
    // The pages are for a checkout.
    let mut command = command.replace("target/release/retrans", "retrans");
    let values = [
        ("saddr", Some(event.saddr.to_string())),
        ("sport", Some(event.sport.to_string())),
        ("daddr", Some(event.daddr.to_string())),
        ("dport", Some(event.dport.to_string())),
        ("mark", event.mark.map(|mark| mark.to_string())),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            command =
                command.replace(&format!("\"${name}\""), &value).replace(&format!("[${name}]"), &format!("[{value}]"));
        }
    }
    // nftables has another keyword for IPv6, and the pages show the one for IPv4.
    if event.daddr.is_ipv6() { command.replace(" ip daddr ", " ip6 daddr ") } else { command }
}

/// Returns how to run the commands where the socket is, as a sentence and commands, if the attempt
/// is not from this program's own network namespace.
pub(crate) fn where_to_run(event: &Event) -> Option<(String, Vec<String>)> {
    let netns = event.netns?;
    let is_in = |process: &str| {
        fs::metadata(format!("/proc/{process}/ns/net")).is_ok_and(|namespace| namespace.ino() == u64::from(netns))
    };
    // Another host may have a namespace with the same number, so this is only a hint.
    if is_in("self") {
        return None;
    }
    let namespace = format!("The socket is in the network namespace with the inode number {netns}");
    let enter = |process: &str| format!("sudo nsenter --net --target {process} COMMAND");
    // The process may have exited, or be one of another host.
    Some(match event.pid.map(|pid| pid.to_string()).filter(|pid| is_in(pid)) {
        Some(pid) => (format!("{namespace}. This runs a command there:"), vec![enter(&pid)]),
        None => (
            format!(
                "{namespace}. The first command lists a process of each namespace, and the second runs a command there:"
            ),
            vec!["sudo lsns --type net --output NS,PID,COMMAND".to_owned(), enter("PID")],
        ),
    })
}

#[cfg(test)]
mod tests {
    use retrans_sdk::RetransResult;

    use super::*;

    fn event(line: &str) -> Event {
        line.parse().expect("a line")
    }

    const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
                        daddr=10.0.0.2 dport=443 state=established segs=1 class=drop";

    #[test]
    fn commands_contain_the_values_of_the_attempt() {
        let event = event(LINE);
        let command =
            "ip route get \"$daddr\" from \"$saddr\" mark \"$mark\" dev \"$dev\" sport \"$sport\" dport \"$dport\"";
        let expected = "ip route get 10.0.0.2 from 10.0.0.1 mark \"$mark\" dev \"$dev\" sport 4000 dport 443";
        assert_eq!(fill_in(command, &event), expected);
        assert_eq!(fill_in("ss dst \"[$daddr]\"", &event), "ss dst \"[10.0.0.2]\"");
        assert_eq!(fill_in("sudo target/release/retrans doctor", &event), "sudo retrans doctor");
        let v6 = super::tests::event(&LINE.replace("inet ", "inet6 ").replace("10.0.0.", "fd00::"));
        assert_eq!(fill_in("output ip daddr \"$daddr\" tcp", &v6), "output ip6 daddr fd00::2 tcp");
    }

    #[test]
    fn facts_are_sentences_without_markup() {
        for entry in RetransResult::ALL {
            let line =
                format!("{LINE} transmit=yes snd_una=4294967290 snd_nxt=4 snd_wnd=0 retransmits=2 rto_us=408000");
            let mut event = event(&format!("{line} sk_err_soft=113 pid=7 comm=a%20b"));
            event.result = entry.variant;
            let facts = of(&event);
            for (fact, meaning) in &facts {
                assert!(meaning.ends_with('.') && !meaning.contains(['`', '[']), "{fact}: {meaning}");
                assert!(fact.len() <= WIDTH || fact.starts_with("ca_name="), "{fact}");
            }
            let has = |text: &str| facts.iter().any(|(_, meaning)| meaning.contains(text));
            for text in ["10 bytes", "window is closed", "2 timeouts", "408 ms", "No route to host", "a b"] {
                assert!(has(text), "{text}: {facts:?}");
            }
        }
    }

    #[test]
    fn an_unknown_errno_is_not_named() {
        assert_eq!(errno(None), "The attach method or the text does not report it.");
        assert_eq!(errno(Some(-1)), "The kernel's function returned: Operation not permitted.");
        assert_eq!(errno(Some(i32::MIN)), "The kernel's function returned: Unknown error 2147483647.");
        assert!(errno(Some(1)).contains("NET_XMIT_DROP"));
    }

    #[test]
    fn another_namespace_is_named() {
        let own = fs::metadata("/proc/self/ns/net").expect("a namespace").ino();
        assert_eq!(where_to_run(&event(&format!("{LINE} netns={own}"))), None);
        assert_eq!(where_to_run(&event(LINE)), None);
        let other = where_to_run(&event(&format!("{LINE} netns=7"))).expect("another one");
        assert!(other.0.contains("inode number 7. ") && other.1.len() == 2, "{other:?}");
        assert!(other.1[0].starts_with("sudo lsns ") && other.1[1].contains("--target PID "), "{other:?}");
        // The process is not in that namespace.
        let owned = format!("{LINE} netns=7 owner=connect pid={} comm=x", std::process::id());
        assert_eq!(where_to_run(&event(&owned)), Some(other));
    }
}
