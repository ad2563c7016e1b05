// SPDX-License-Identifier: MIT OR Apache-2.0
//! The prefix that an address is counted for.

use std::net::IpAddr;

use ipnet::IpNet;

/// The length of prefixes in bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefixes {
    pub(crate) v4: u8,
    pub(crate) v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

impl Prefixes {
    /// Returns the prefix of an address. An IPv4-mapped address has an IPv4 prefix.
    pub(crate) fn of(self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { self.v4 } else { self.v6 };
        IpNet::new_assert(address, bits).trunc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut() {
        let of = |v4, v6, address: &str| Prefixes { v4, v6 }.of(address.parse().expect("an address")).to_string();
        assert_eq!(of(24, 64, "192.0.2.77"), "192.0.2.0/24");
        assert_eq!(of(20, 64, "192.0.31.77"), "192.0.16.0/20");
        assert_eq!(of(0, 0, "192.0.2.77"), "0.0.0.0/0");
        assert_eq!(of(32, 128, "2001:db8::1"), "2001:db8::1/128");
        assert_eq!(of(24, 48, "2001:db8:1:2::1"), "2001:db8:1::/48");
        assert_eq!(of(24, 64, "::ffff:192.0.2.77"), "192.0.2.0/24");
    }
}
