// SPDX-License-Identifier: MIT OR Apache-2.0
//! The proposal's enum in the running kernel (see `tests/kernels/patches`).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libbpf_rs::btf::{Btf, types};
use retrans_sdk::RetransResult;
use retrans_sdk::reason_table::ReasonTable;

/// The enumerator for a result that no table contains. The kernels of `tests/kernels/patches`
/// report it on request.
pub const CANCELED: &str = "TCP_RETRANS_CANCELED";

/// The enumerators of the running kernel, by name.
#[derive(Debug, Default)]
pub struct KernelEnum {
    numbers: BTreeMap<String, u32>,
}

impl KernelEnum {
    /// Returns the enumerators. They are read once. On a kernel without the enum the list is empty.
    pub fn of_running_kernel() -> &'static Self {
        static READ: OnceLock<KernelEnum> = OnceLock::new();
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

    /// Returns whether the enum has an enumerator of this name.
    pub fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Returns whether the kernel has the enum.
    pub fn exists(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// Returns the SDK's result for the enumerator of this name, if the SDK's table lacks the name.
    pub fn unlisted(&self, name: &str) -> Option<RetransResult> {
        self.numbers.get(name).map(|number| RetransResult::from_raw(UNLISTED | number))
    }

    /// Returns the result that the enum alone reports for an attempt with the result `precise`.
    pub fn expected_result(&self, precise: RetransResult) -> RetransResult {
        let named = |name: Option<&str>| name.is_some_and(|name| self.has(name));
        if named(precise.entry().and_then(|entry| entry.c_name)) || Some(precise) == self.unlisted(CANCELED) {
            precise
        } else if SITES.contains(&precise) && self.has("TCP_RETRANS_NOMEM") {
            RetransResult::Nomem
        } else {
            RetransResult::ErrDefault
        }
    }
}

/// `RETRANS_RESULT_UNKNOWN`.
const UNLISTED: u32 = 0x10000;

/// The results for which one version of the proposal has a single enumerator.
const SITES: [RetransResult; 4] = [
    RetransResult::TrimHeadNomem,
    RetransResult::UncloneNomem,
    RetransResult::FragNomem,
    RetransResult::PskbCopyNobufs,
];

/// Returns the result that a text of these kernels represents. Our patch prints the SDK's own
/// names, v4 prints other names, v1 and v2 print sentences. Returns `None` for any other text.
pub fn result_of_text(text: &str) -> Option<RetransResult> {
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
        "a test said so" => KernelEnum::of_running_kernel().unlisted(CANCELED)?,
        _ => return None,
    })
}

/// Returns whether the text is consistent with the result of a stream attached with `tp_enum`. By
/// the errno, the stream may be more precise than a text that represents several results.
pub fn is_consistent(text: &str, result: RetransResult) -> bool {
    match result_of_text(text) {
        Some(said) if said == result => true,
        Some(RetransResult::Nomem) => SITES.contains(&result) || result == RetransResult::Nobufs,
        Some(RetransResult::ErrDefault) => {
            matches!(result, RetransResult::Denied | RetransResult::XmitDrop | RetransResult::Nobufs)
        }
        _ => false,
    }
}

/// Returns whether the text is consistent with the result of a stream with another attach method.
/// Such a stream may be less precise: it may not know where memory ran out, or the results that
/// only the enum names.
pub fn is_consistent_by_errno(text: &str, result: RetransResult) -> bool {
    match result_of_text(text) {
        Some(said) if SITES.contains(&said) => {
            said == result || matches!(result, RetransResult::Nomem | RetransResult::Nobufs)
        }
        Some(said) if said.entry().is_none() => result == RetransResult::ErrDefault,
        _ => is_consistent(text, result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> KernelEnum {
        let numbers = names.iter().zip(0..).map(|(name, number)| ((*name).to_owned(), number)).collect();
        KernelEnum { numbers }
    }

    #[test]
    fn expected_result_depends_on_the_enumerators() {
        let v2 = of(&["TCP_RETRANS_ERR_DEFAULT", "TCP_RETRANS_SUCCESS", "TCP_RETRANS_FRAG_NOMEM", CANCELED]);
        assert_eq!(v2.expected_result(RetransResult::FragNomem), RetransResult::FragNomem);
        assert_eq!(v2.expected_result(RetransResult::Denied), RetransResult::ErrDefault);
        assert_eq!(v2.unlisted(CANCELED).map(|result| result.to_string()).as_deref(), Some("k3"));
        let v4 = of(&["TCP_RETRANS_ERR_DEFAULT", "TCP_RETRANS_SUCCESS", "TCP_RETRANS_NOMEM"]);
        assert_eq!(v4.expected_result(RetransResult::FragNomem), RetransResult::Nomem);
        assert_eq!(v4.expected_result(RetransResult::PskbCopyNobufs), RetransResult::Nomem);
        assert_eq!(v4.expected_result(RetransResult::XmitDrop), RetransResult::ErrDefault);
        assert!(v4.exists() && !of(&[]).exists());
    }

    #[test]
    fn a_text_is_consistent_with_the_same_or_a_more_precise_result() {
        for entry in RetransResult::ALL {
            assert!(is_consistent(entry.value, entry.variant), "{}", entry.value);
        }
        assert!(is_consistent("packet_in_driver", RetransResult::InHostQueue));
        assert!(is_consistent("err_default", RetransResult::Denied));
        assert!(is_consistent("retrans_nomem", RetransResult::TrimHeadNomem));
        assert!(!is_consistent("err_default", RetransResult::RouteFail));
        assert!(!is_consistent("retransmitted", RetransResult::Denied));
        assert!(!is_consistent("something else", RetransResult::Success));
        assert!(
            !is_consistent("frag_nomem", RetransResult::Nomem)
                && is_consistent_by_errno("frag_nomem", RetransResult::Nomem)
        );
        assert!(is_consistent_by_errno("pskb_copy_nobufs", RetransResult::Nobufs));
        assert!(!is_consistent_by_errno("frag_nomem", RetransResult::TrimHeadNomem));
        assert!(!is_consistent_by_errno("route_fail", RetransResult::ErrDefault));
    }
}
