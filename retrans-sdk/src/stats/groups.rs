// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts of attempts by a key, such as the cgroup.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, ErrorKind};
use crate::event::result::{RESULT_SLOTS, RetransResult};
use crate::stats::layout::{GROUP_WORDS, group_tag, group_word};
use crate::sys::mmap::Words;
use crate::text::reason_table::KeyVal;

/// The key by which [`StreamBuilder::count_by`](crate::StreamBuilder::count_by) counts attempts.
///
/// Choose a key whose values a peer cannot choose freely, or a capacity that suffices for all of
/// them: a peer that connects from many ports fills the groups of [`RemotePort`](Self::RemotePort).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupBy {
    /// The socket's cgroup, as in [`Event::cgroup`](crate::Event::cgroup). Requires Linux 5.15:
    /// before, all attempts are in the group without a cgroup. On a host that uses cgroup v1,
    /// sockets of the root cgroup are in it as well.
    Cgroup,
    /// The socket's network namespace, as in [`Event::netns`](crate::Event::netns).
    Netns,
    /// The local port. Ports of different network namespaces are in the same group.
    LocalPort,
    /// The remote port.
    RemotePort,
    /// A prefix of the remote address. Mapped addresses are IPv4 addresses.
    RemotePrefix {
        /// The length of the prefix of an IPv4 address, 0 to 32 bits.
        v4: u8,
        /// The length of the prefix of an IPv6 address, 0 to 128 bits.
        v6: u8,
    },
}

/// The key of a group. Prints as the term of a filter that selects its attempts, such as
/// `cgroup=4021` or `daddr=10.0.0.0/8`; the keys that are no terms print as `cgroup=-` and
/// `group=other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupKey {
    /// The id of a cgroup; `None` for sockets whose cgroup is not reported.
    Cgroup(Option<u64>),
    /// The inode number of a network namespace.
    Netns(u32),
    /// A local port.
    LocalPort(u16),
    /// A remote port.
    RemotePort(u16),
    /// A prefix of remote addresses.
    RemotePrefix {
        /// The lowest address of the prefix.
        address: IpAddr,
        /// The length of the prefix in bits.
        length: u8,
    },
    /// Attempts for which no group was available: usually because all groups are in use, rarely
    /// because two CPUs requested one at the same time.
    Other,
}

/// The number of attempts of one group and result.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
/// use retrans_sdk::stats::GroupBy;
///
/// let counters = Stream::builder().count_by(GroupBy::Cgroup, 1_000).open_counters()?;
/// std::thread::sleep(std::time::Duration::from_secs(60));
/// for count in counters.stats_reader().groups().unwrap_or_default() {
///     println!("{count}"); // cgroup=… result=… attempts=… segs=…
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupCount {
    /// The group.
    pub key: GroupKey,
    /// The result, as in [`Count::result`](crate::stats::Count::result).
    pub result: Option<RetransResult>,
    /// The number of attempts.
    pub attempts: u64,
    /// The number of segments of these attempts.
    pub segs: u64,
}

/// Prints the group and `result=… attempts=… segs=…`.
impl fmt::Display for GroupCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.key)?;
        match self.result {
            Some(result) => write!(f, "{}", result.key_val())?,
            None => write!(f, "{}", KeyVal { key: RetransResult::KEY, value: '-' })?,
        }
        write!(f, " attempts={} segs={}", self.attempts, self.segs)
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup(Some(cgroup)) => write!(f, "cgroup={cgroup}"),
            Self::Cgroup(None) => f.write_str("cgroup=-"),
            Self::Netns(netns) => write!(f, "netns={netns}"),
            Self::LocalPort(port) => write!(f, "sport={port}"),
            Self::RemotePort(port) => write!(f, "dport={port}"),
            Self::RemotePrefix { address, length } => write!(f, "daddr={address}/{length}"),
            Self::Other => f.write_str("group=other"),
        }
    }
}

/// The setting of [`StreamBuilder::count_by`](crate::StreamBuilder::count_by).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) by: GroupBy,
    /// The maximum number of keys.
    pub(crate) capacity: u32,
}

/// The bits of a remote address that belong to the prefix, in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefixMasks {
    pub(crate) inet: u64,
    pub(crate) inet6_high: u64,
    pub(crate) inet6_low: u64,
}

impl Grouping {
    /// The maximum capacity, with which the maps occupy about 40 MB.
    pub(crate) const MAX_CAPACITY: u32 = 1 << 16;

    /// Checks the lengths of the prefixes and the capacity.
    pub(crate) fn check(self) -> Result<(), Error> {
        let Self { by, capacity } = self;
        let refused = |message| Err(Error::new(ErrorKind::Setting, message));
        if !(1..=Self::MAX_CAPACITY).contains(&capacity) {
            return refused(format!(
                "`StreamBuilder::count_by`: the capacity {capacity} is not in the range 1 to {}",
                Self::MAX_CAPACITY
            ));
        }
        match by {
            GroupBy::RemotePrefix { v4, .. } if v4 > 32 => {
                refused(format!("`StreamBuilder::count_by`: an IPv4 prefix of {v4} bits is longer than 32 bits"))
            }
            GroupBy::RemotePrefix { v6, .. } if v6 > 128 => {
                refused(format!("`StreamBuilder::count_by`: an IPv6 prefix of {v6} bits is longer than 128 bits"))
            }
            _ => Ok(()),
        }
    }

    /// The number of elements of the map: one for each key, and one for all others.
    pub(crate) fn elements(self) -> u32 {
        self.capacity + 1
    }

    pub(crate) fn masks(self) -> PrefixMasks {
        let (v4, v6) = match self.by {
            GroupBy::RemotePrefix { v4, v6 } => (v4, v6),
            _ => (0, 0),
        };
        let leading = |length: u8| u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        let inet6 = leading(v6);
        PrefixMasks { inet: (leading(v4) >> 96) as u64, inet6_high: (inet6 >> 64) as u64, inet6_low: inet6 as u64 }
    }
}

/// The groups of a stream, mapped into this process.
pub(crate) struct Groups {
    words: Words,
    grouping: Grouping,
}

impl Groups {
    pub(crate) const fn new(words: Words, grouping: Grouping) -> Self {
        Self { words, grouping }
    }

    /// Returns the number of words to map.
    pub(crate) fn words(grouping: Grouping) -> usize {
        grouping.elements() as usize * GROUP_WORDS
    }

    /// Returns the counts that are not zero.
    pub(crate) fn read(&self, result_of: impl Fn(usize) -> Option<RetransResult>) -> Vec<GroupCount> {
        let mut counts = Vec::new();
        for element in 0..self.grouping.elements() as usize {
            let load = |word: usize| self.words.load(element * GROUP_WORDS + word);
            // A program sets the key before it counts.
            if element > 0 && load(group_word::TAG) == 0 {
                continue;
            }
            for slot in 0..RESULT_SLOTS {
                let at = group_word::COUNTS + slot * 2;
                let attempts = load(at);
                if attempts != 0 {
                    let key = if element == 0 { Some(GroupKey::Other) } else { self.key(load) };
                    let segs = load(at + 1);
                    counts.extend(key.map(|key| GroupCount { key, result: result_of(slot), attempts, segs }));
                }
            }
        }
        counts
    }

    fn key(&self, load: impl Fn(usize) -> u64) -> Option<GroupKey> {
        let [high, low, tag] = [group_word::HIGH, group_word::LOW, group_word::TAG].map(load);
        let of_number = |number: u64| match self.grouping.by {
            GroupBy::Cgroup => Some(GroupKey::Cgroup(Some(number))),
            GroupBy::Netns => Some(GroupKey::Netns(number as u32)),
            GroupBy::LocalPort => Some(GroupKey::LocalPort(number as u16)),
            GroupBy::RemotePort => Some(GroupKey::RemotePort(number as u16)),
            GroupBy::RemotePrefix { .. } => None,
        };
        match (tag, self.grouping.by) {
            (group_tag::NUMBER, _) => of_number(low),
            (group_tag::ABSENT, GroupBy::Cgroup) => Some(GroupKey::Cgroup(None)),
            (group_tag::INET, GroupBy::RemotePrefix { v4, .. }) => {
                Some(GroupKey::RemotePrefix { address: Ipv4Addr::from_bits(low as u32).into(), length: v4 })
            }
            (group_tag::INET6, GroupBy::RemotePrefix { v6, .. }) => {
                let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
                Some(GroupKey::RemotePrefix { address: address.into(), length: v6 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_contain_the_leading_bits() {
        let masks = |v4, v6| Grouping { by: GroupBy::RemotePrefix { v4, v6 }, capacity: 1 }.masks();
        assert_eq!(masks(0, 0), PrefixMasks { inet: 0, inet6_high: 0, inet6_low: 0 });
        assert_eq!(masks(32, 128), PrefixMasks { inet: 0xffff_ffff, inet6_high: u64::MAX, inet6_low: u64::MAX });
        assert_eq!(masks(8, 48), PrefixMasks { inet: 0xff00_0000, inet6_high: 0xffff_ffff_ffff_0000, inet6_low: 0 });
        assert_eq!(masks(24, 65), PrefixMasks { inet: 0xffff_ff00, inet6_high: u64::MAX, inet6_low: 1 << 63 });
    }

    #[test]
    fn a_grouping_that_cannot_be_is_refused() {
        let check = |by, capacity| Grouping { by, capacity }.check().map_err(|error| error.to_string());
        assert_eq!(check(GroupBy::Cgroup, 1), Ok(()));
        assert_eq!(check(GroupBy::RemotePrefix { v4: 32, v6: 128 }, Grouping::MAX_CAPACITY), Ok(()));
        for (by, capacity, says) in [
            (GroupBy::Netns, 0, "the capacity 0 is not in the range 1 to 65536"),
            (GroupBy::Netns, Grouping::MAX_CAPACITY + 1, "the capacity 65537"),
            (GroupBy::RemotePrefix { v4: 33, v6: 0 }, 1, "an IPv4 prefix of 33 bits"),
            (GroupBy::RemotePrefix { v4: 0, v6: 129 }, 1, "an IPv6 prefix of 129 bits"),
        ] {
            let error = check(by, capacity).expect_err("refused");
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_key_prints_as_the_term_that_selects_it() {
        let prefix = |address: &str, length| GroupKey::RemotePrefix { address: address.parse().unwrap(), length };
        for (key, term) in [
            (GroupKey::Cgroup(Some(4021)), "cgroup=4021"),
            (GroupKey::Netns(4_026_531_840), "netns=4026531840"),
            (GroupKey::LocalPort(443), "sport=443"),
            (GroupKey::RemotePort(22), "dport=22"),
            (prefix("10.0.0.0", 8), "daddr=10.0.0.0/8"),
            (prefix("2001:db8::", 48), "daddr=2001:db8::/48"),
        ] {
            let parsed: crate::Filter = key.to_string().parse().expect("a term");
            assert_eq!((key.to_string().as_str(), parsed.to_string().as_str()), (term, term));
        }
        assert_eq!(GroupKey::Cgroup(None).to_string(), "cgroup=-");
        let count = GroupCount { key: GroupKey::Other, result: Some(RetransResult::Success), attempts: 2, segs: 3 };
        assert_eq!(count.to_string(), "group=other result=success attempts=2 segs=3");
        assert!(GroupCount { result: None, ..count }.to_string().contains(" result=- "));
    }
}
