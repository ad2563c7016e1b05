// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proposal's enum, where the running kernel has it (see `tests/kernels/patches`).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libbpf_rs::btf::{Btf, types};
use retrans_sdk::RetransResult;
use retrans_sdk::reason_table::ReasonTable;

/// What a test may have a kernel say that no table of ours knows.
pub const CANCELED: &str = "TCP_RETRANS_CANCELED";

/// The enumerators of the running kernel, by name.
#[derive(Debug, Default)]
pub struct Proposal {
    numbers: BTreeMap<String, u32>,
}

impl Proposal {
    /// Reads them, once. There are none on a kernel without the enum.
    pub fn of_running_kernel() -> &'static Self {
        static READ: OnceLock<Proposal> = OnceLock::new();
        READ.get_or_init(|| Self::read().unwrap_or_default())
    }

    fn read() -> Option<Self> {
        let btf = Btf::from_path("/sys/kernel/btf/vmlinux").ok()?;
        let enums = (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<types::Enum<'_>>(id.into()));
        enums
            .map(|found| {
                let name = |member: &types::EnumMember<'_>| member.name.map(|name| name.to_string_lossy().into_owned());
                found.iter().filter_map(|member| Some((name(&member)?, member.value as u32))).collect()
            })
            .map(|numbers| Self { numbers })
            .find(|found| found.has("TCP_RETRANS_SUCCESS"))
    }

    /// Whether there is such an enumerator.
    pub fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Whether there is the enum.
    pub fn exists(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// What the enumerator with this name is to the SDK, if its table lacks the name.
    pub fn unknown(&self, name: &str) -> Option<RetransResult> {
        self.numbers.get(name).map(|number| RetransResult::from_raw(UNKNOWN | number))
    }

    /// What the enum alone says of an attempt whose result is `precise`.
    pub fn says(&self, precise: RetransResult) -> RetransResult {
        let named = |name: Option<&str>| name.is_some_and(|name| self.has(name));
        if named(precise.entry().and_then(|entry| entry.c_name)) || Some(precise) == self.unknown(CANCELED) {
            precise
        } else if SITES.contains(&precise) && self.has("TCP_RETRANS_NOMEM") {
            RetransResult::Nomem
        } else {
            RetransResult::ErrDefault
        }
    }
}

/// `RETRANS_RESULT_UNKNOWN`.
const UNKNOWN: u32 = 0x10000;

/// What one version of the proposal has one enumerator for.
const SITES: [RetransResult; 4] = [
    RetransResult::TrimHeadNomem,
    RetransResult::UncloneNomem,
    RetransResult::FragNomem,
    RetransResult::PskbCopyNobufs,
];

/// What the text of these kernels means: our patch's names are the SDK's own, v4's are names, v1's and v2's sentences. `None`
/// if it is none of theirs.
pub fn meaning(text: &str) -> Option<RetransResult> {
    use RetransResult::*;
    if let Ok(result) = text.parse::<RetransResult>() {
        return Some(result);
    }
    Some(match text {
        "retrans_err_default" | "terminated for an unknown reason" => ErrDefault,
        "retrans_succ" | "retransmitted" => Success,
        "packet_in_driver" | "packet is still in the host" => InHostQueue,
        "end_seq is before snd_una" => EndSeqError,
        "retrans_nomem" => Nomem,
        "no memory to trim the head" => TrimHeadNomem,
        "no memory to unclone" => UncloneNomem,
        "no memory to fragment" => FragNomem,
        "routing failed" => RouteFail,
        "reciever has closed its window" => RcvZeroWindow,
        "no memory to copy" => PskbCopyNobufs,
        "a test said so" => Proposal::of_running_kernel().unknown(CANCELED)?,
        _ => return None,
    })
}

/// Whether the kernel's own text and a stream whose source is the enum tell the same result. The stream may know more, by the
/// errno, of what the text has no name for, or one name for several.
pub fn agrees(text: &str, result: RetransResult) -> bool {
    match meaning(text) {
        Some(said) if said == result => true,
        Some(RetransResult::Nomem) => SITES.contains(&result) || result == RetransResult::Nobufs,
        Some(RetransResult::ErrDefault) => {
            matches!(result, RetransResult::Denied | RetransResult::XmitDrop | RetransResult::Nobufs)
        }
        _ => false,
    }
}

/// The same of a stream from another source, which may know less: where memory ran out, or what only the enum has a name for.
pub fn agrees_by_errno(text: &str, result: RetransResult) -> bool {
    match meaning(text) {
        Some(said) if SITES.contains(&said) => {
            said == result || matches!(result, RetransResult::Nomem | RetransResult::Nobufs)
        }
        Some(said) if said.entry().is_none() => result == RetransResult::ErrDefault,
        _ => agrees(text, result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Proposal {
        let numbers = names.iter().zip(0..).map(|(name, number)| ((*name).to_owned(), number)).collect();
        Proposal { numbers }
    }

    #[test]
    fn an_enum_says_what_it_has_a_name_for() {
        let v2 = of(&["TCP_RETRANS_ERR_DEFAULT", "TCP_RETRANS_SUCCESS", "TCP_RETRANS_FRAG_NOMEM", CANCELED]);
        assert_eq!(v2.says(RetransResult::FragNomem), RetransResult::FragNomem);
        assert_eq!(v2.says(RetransResult::Denied), RetransResult::ErrDefault);
        assert_eq!(v2.unknown(CANCELED).map(|result| result.to_string()).as_deref(), Some("k3"));
        let v4 = of(&["TCP_RETRANS_ERR_DEFAULT", "TCP_RETRANS_SUCCESS", "TCP_RETRANS_NOMEM"]);
        assert_eq!(v4.says(RetransResult::FragNomem), RetransResult::Nomem);
        assert_eq!(v4.says(RetransResult::PskbCopyNobufs), RetransResult::Nomem);
        assert_eq!(v4.says(RetransResult::XmitDrop), RetransResult::ErrDefault);
        assert!(v4.exists() && !of(&[]).exists());
    }

    #[test]
    fn a_text_agrees_with_the_same_or_with_more_that_is_known() {
        for entry in RetransResult::ALL {
            assert!(agrees(entry.value, entry.variant), "{}", entry.value);
        }
        assert!(agrees("packet_in_driver", RetransResult::InHostQueue));
        assert!(agrees("err_default", RetransResult::Denied));
        assert!(agrees("retrans_nomem", RetransResult::TrimHeadNomem));
        assert!(!agrees("err_default", RetransResult::RouteFail));
        assert!(!agrees("retransmitted", RetransResult::Denied));
        assert!(!agrees("something else", RetransResult::Success));
        assert!(!agrees("frag_nomem", RetransResult::Nomem) && agrees_by_errno("frag_nomem", RetransResult::Nomem));
        assert!(agrees_by_errno("pskb_copy_nobufs", RetransResult::Nobufs));
        assert!(!agrees_by_errno("frag_nomem", RetransResult::TrimHeadNomem));
        assert!(!agrees_by_errno("route_fail", RetransResult::ErrDefault));
    }
}
