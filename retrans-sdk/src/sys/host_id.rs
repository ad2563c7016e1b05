// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of this host, for stores that contain the events of several hosts.

use std::fs;

/// The identity of this host since its last boot.
///
/// Socket cookies, cgroup ids and namespace numbers are unique within one boot of one host only. A
/// store of several hosts therefore needs the boot in addition to the name.
///
/// # Examples
///
/// ```
/// use retrans_sdk::host::HostId;
///
/// let host = HostId::read();
/// println!("{} {:?} {:?}", host.name, host.machine_id, host.boot_id);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HostId {
    /// The host name (`uname -n`), of this process's UTS namespace. Bytes that are not UTF-8 are
    /// replaced by U+FFFD.
    pub name: String,
    /// The machine id (`/etc/machine-id`), 32 hexadecimal digits. `None` if it is missing or not
    /// initialized. In a container it is the id of the container's own image, if it has one.
    pub machine_id: Option<String>,
    /// The id of the boot (`/proc/sys/kernel/random/boot_id`), a UUID. It is the same in every
    /// container of the host. `None` if it cannot be read.
    pub boot_id: Option<String>,
}

impl HostId {
    /// Reads the identity of this host.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine_id: machine_id(&read("/etc/machine-id")),
            boot_id: boot_id(&read("/proc/sys/kernel/random/boot_id")),
        }
    }
}

/// Returns the id in the text of `/etc/machine-id`. systemd writes `uninitialized` before the first
/// boot.
fn machine_id(text: &str) -> Option<String> {
    let text = text.trim_end();
    (text.len() == 32 && text.bytes().all(is_hex_digit)).then(|| text.to_owned())
}

/// Returns the id in the text of `boot_id`.
fn boot_id(text: &str) -> Option<String> {
    let text = text.trim_end();
    is_uuid(text).then(|| text.to_owned())
}

/// Returns true for a lower-case hexadecimal digit.
pub(crate) const fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Returns true for a UUID in lower-case digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_hex_digit(byte),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_name_and_a_boot() {
        let host = HostId::read();
        assert!(!host.name.is_empty());
        assert!(host.boot_id.is_some(), "the kernel always has one");
        assert_eq!(host, HostId::read(), "the id is the same until the host reboots");
    }

    #[test]
    fn an_id_is_checked() {
        let id = "5a1d9c3b0f6e4d7c8b2a19e0d3c4b5f6";
        assert_eq!(machine_id(&format!("{id}\n")).as_deref(), Some(id));
        for text in [
            "",
            "\n",
            "uninitialized\n",
            "5A1D9C3B0F6E4D7C8B2A19E0D3C4B5F6",
            &id[1..],
            "5a1d9c3b 0f6e4d7c8b2a19e0d3c4b5f",
        ] {
            assert_eq!(machine_id(text), None, "{text}");
        }
        let id = "0f2b7c7e-58d4-4f7a-9a43-6f7e5c1d2b3a";
        assert_eq!(boot_id(&format!("{id}\n")).as_deref(), Some(id));
        for text in ["", &id[1..], "0f2b7c7e058d4-4f7a-9a43-6f7e5c1d2b3a", "0f2b7c7e-58d4-4f7a-9a43-6f7e5c1d2b3g"] {
            assert_eq!(boot_id(text), None, "{text}");
        }
    }
}
