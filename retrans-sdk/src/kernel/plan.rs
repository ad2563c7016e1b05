// SPDX-License-Identifier: MIT OR Apache-2.0
//! The combinations of attach method and companion, best first, and those that a kernel's BTF
//! allows. The kernel may still refuse them.
//!
//! # Design
//!
//! An enumerator of the kernel that the table lacks is counted in a slot of its own. The
//! enumerators are known when a stream opens, so free slots are assigned here and passed as
//! read-only data (`unlisted_slots`). Numbers above 31, and those for which no slot is left, share
//! the last slot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libbpf_rs::btf::types::{Func, Typedef};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};

use super::btf::{self, TRACEPOINT, ThirdArgument};
use super::btf_subset::{self, Subset};
use super::drops::DropNames;
use crate::error::{Error, ErrorKind};
use crate::event::result::{ResultSlots, RetransResult, SLOT_UNKNOWN};
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::support::Support;
use crate::kernel::verdict_hooks::VerdictHooks;
use crate::text::escape::Escaped;
use crate::text::reason_table::UNLISTED_BASE;

/// The relevant contents of a kernel's BTF.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) third: ThirdArgument,
    /// True if both functions exist with the expected number of parameters, which determines where
    /// their return value is found.
    functions: bool,
    /// The BTF id of the outer function.
    outer: Option<u32>,
    /// The BTF id of `tcp_rtx_synack()`, if it has the expected number of parameters.
    synack: Option<u32>,
    /// True if the function exists in which allocations fail.
    fragment: bool,
    has_cookie_helper: bool,
    accept_parameters: Option<usize>,
    /// The names of the reasons that the tracepoint kfree_skb reports, if it reports reasons.
    drop_names: Option<Arc<DropNames>>,
    /// True if the tracepoint exists that reports the ends of connections.
    has_end: bool,
    /// True if the tracepoint exists that reports undone recoveries.
    has_undo: bool,
    /// The types that relocations need.
    types: Option<Arc<Subset>>,
    /// The file with this BTF, if it is not the kernel's own.
    file: Option<PathBuf>,
    /// The reason that the kernel's own BTF is not available.
    lacks_own_btf: Option<String>,
}

/// The functions that are looked up.
const OUTER: &str = "tcp_retransmit_skb";
const INNER: &str = "__tcp_retransmit_skb";
/// The function that retransmits a SYN-ACK, and returns its error.
const RTX_SYNACK: &str = "tcp_rtx_synack";
const FRAGMENT: &str = "tcp_fragment";
const ACCEPT: &str = "inet_csk_accept";
/// c5dbb89fc2ac (Linux 5.12) allowed `bpf_get_socket_cookie()` in tracing programs and added this
/// function, which implements it for any `struct sock *`.
const COOKIE: &str = "bpf_get_socket_ptr_cookie";
const FUNCTIONS: [&str; 6] = [OUTER, INNER, RTX_SYNACK, FRAGMENT, ACCEPT, COOKIE];

/// The other tracepoint that streams attach to.
const SYNACK: &str = "tcp_retransmit_synack";
/// The tracepoint of dropped packets.
const DROP: &str = "kfree_skb";
/// The tracepoints that report verdicts.
const END: &str = "inet_sock_set_state";
const UNDO: &str = "tcp_cong_state_set";

impl Kernel {
    pub(super) fn read(btf: &Btf<'_>) -> Result<Self, Error> {
        let typedefs = [TRACEPOINT, SYNACK, DROP, END, UNDO].map(btf::typedef_of);
        let found = btf::find(btf, |kind, name| match kind {
            BtfKind::Func => FUNCTIONS.iter().any(|wanted| wanted.as_bytes() == name),
            BtfKind::Typedef => typedefs.iter().any(|wanted| wanted.as_bytes() == name),
            BtfKind::Struct | BtfKind::Union => btf_subset::is_needed(name),
            BtfKind::Enum => DropNames::is_enum(name),
            _ => false,
        });
        let first = |kind, name: &str| {
            found.iter().copied().find(|found| found.kind() == kind && found.name() == Some(OsStr::new(name)))
        };
        let prototype = |tracepoint: &str| {
            let typedef = first(BtfKind::Typedef, &btf::typedef_of(tracepoint));
            btf::prototype(tracepoint, typedef.and_then(|found| Typedef::try_from(found).ok()))
        };
        prototype(SYNACK)?;
        let has = |tracepoint: &str| first(BtfKind::Typedef, &btf::typedef_of(tracepoint)).is_some();
        let function = |name| first(BtfKind::Func, name).and_then(|found| Func::try_from(found).ok());
        let parameters = |name| function(name).as_ref().and_then(btf::parameters);
        // Data, packet and location; since c504e5c2f964 (Linux 5.17) also the reason.
        let has_reason = prototype(DROP).is_ok_and(|prototype| prototype.len() > 3);
        let drop_names = || DropNames::of(found.iter().copied().filter(|found| found.kind() == BtfKind::Enum));
        let id = |name| function(name).map(|function| function.type_id().into());
        Ok(Self {
            third: btf::third_argument_of(btf, prototype(TRACEPOINT)?)?,
            outer: id(OUTER),
            functions: parameters(OUTER) == Some(3) && parameters(INNER) == Some(3),
            synack: id(RTX_SYNACK).filter(|_| parameters(RTX_SYNACK) == Some(2)),
            fragment: parameters(FRAGMENT) == Some(6),
            has_cookie_helper: parameters(COOKIE).is_some(),
            accept_parameters: parameters(ACCEPT),
            drop_names: has_reason.then(drop_names).transpose()?.map(Arc::new),
            has_end: has(END),
            has_undo: has(UNDO),
            types: Subset::of(btf, found.iter().copied().filter(BtfType::is_composite)).map(Arc::new),
            file: None,
            lacks_own_btf: None,
        })
    }

    /// Records the file that the BTF was read from, and why the kernel's own BTF is not available,
    /// if it is not.
    ///
    /// libbpf must not read a damaged file: it follows a cycle of typedefs without end.
    pub(super) fn in_file(mut self, file: &Path, own: Result<(), String>) -> Result<Self, Error> {
        if self.types.is_none() {
            let message = format!("the types in {} cannot be extracted", Escaped::path(file));
            return Err(Error::new(ErrorKind::NoBtf, message));
        }
        (self.file, self.lacks_own_btf) = (Some(file.to_owned()), own.err());
        Ok(self)
    }

    /// Returns all combinations with these companions, best first: a plan for each, or the reason
    /// that it is not possible. Combinations that locate -ENOMEM are included only on request.
    pub(super) fn combinations(
        &self,
        companions: Companions,
        locate_nomem: bool,
    ) -> Vec<(Combination, Result<Plan, String>)> {
        use AttachMethod::{Fexit, Kretprobe, TpEnum, TpErr, TpSuccess};
        [
            (TpEnum, Some(Fexit), true),
            (TpEnum, Some(Fexit), false),
            (TpEnum, Some(Kretprobe), false),
            (TpEnum, None, false),
            (TpErr, Some(Fexit), true),
            (TpErr, Some(Fexit), false),
            (TpErr, None, false),
            (Fexit, None, true),
            (Fexit, None, false),
            (Kretprobe, None, false),
            (TpSuccess, None, false),
        ]
        .into_iter()
        .filter(|(_, _, sites)| locate_nomem || !sites)
        .map(|(method, companion, sites)| {
            let combination = Combination { method, companion, sites };
            let wanted = match companions {
                Companions::Any => true,
                Companions::None => companion.is_none(),
                #[cfg(feature = "test-util")]
                Companions::Only(only) => companion == Some(only),
            };
            (combination, if wanted { self.plan(combination) } else { Err("excluded by the configuration".to_owned()) })
        })
        .collect()
    }

    fn plan(&self, combination: Combination) -> Result<Plan, String> {
        let Combination { method, companion, sites } = combination;
        let enumerators = match &self.third {
            ThirdArgument::Enum { members, .. } => Enumerators::by_name(members),
            _ => Enumerators::default(),
        };
        match (method, &self.third) {
            (AttachMethod::TpEnum, ThirdArgument::Enum { name, .. }) => {
                // Without this enumerator a success would be reported as a failure.
                if !enumerators.results.contains(&RetransResult::Success.raw()) {
                    return Err(format!("the tracepoint's enum {name} has no enumerator TCP_RETRANS_SUCCESS"));
                }
            }
            (AttachMethod::TpErr, ThirdArgument::Err) | (AttachMethod::TpSuccess, ThirdArgument::Absent) => {}
            (AttachMethod::Fexit | AttachMethod::Kretprobe, _) => {}
            (_, third) => return Err(format!("the tracepoint's third argument is {third}")),
        }
        let by = |wanted| method == wanted || companion == Some(wanted);
        if let Some(reason) = &self.lacks_own_btf {
            // The kernel identifies the function by the id of a type in its own BTF.
            if by(AttachMethod::Fexit) {
                return Err(format!("requires the kernel's own BTF: {reason}"));
            }
            if cfg!(target_endian = "big") {
                return Err(format!("requires the kernel's own BTF on big-endian machines: {reason}"));
            }
        }
        // Without sites, fexit adds to `tp_err` the failures of SYN-ACKs, and entries if possible.
        let only_synacks = method == AttachMethod::TpErr && companion.is_some() && !sites;
        if only_synacks && self.synack.is_none() {
            return Err("BTF has no tcp_rtx_synack of two parameters".to_owned());
        }
        if by(AttachMethod::Fexit) && !only_synacks && !self.functions {
            return Err("BTF has no tcp_retransmit_skb and __tcp_retransmit_skb of three parameters".to_owned());
        }
        if sites && !self.fragment {
            return Err("BTF has no tcp_fragment of six parameters".to_owned());
        }
        if by(AttachMethod::Kretprobe) && !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return Err("kprobes are supported on x86-64 and arm64 only".to_owned());
        }
        let tracepoint = match &self.third {
            // An unsupported argument is not read.
            ThirdArgument::Other(_) => None,
            ThirdArgument::Absent => Some(ThirdArgMode::None),
            ThirdArgument::Err => Some(ThirdArgMode::Err),
            ThirdArgument::Enum { .. } => Some(ThirdArgMode::Enum),
        };
        let Self { has_cookie_helper, accept_parameters, has_end, has_undo, .. } = *self;
        // The ids of a file may not be those of the kernel.
        let exit = self.outer.or(self.synack).filter(|_| by(AttachMethod::Fexit) && self.file.is_none());
        let synack_exit = combination.exit_method().filter(|_| self.synack.is_some());
        let entries = combination.exit_method().is_some() && (self.functions || by(AttachMethod::Kretprobe));
        let (types, file, drop_names) = (self.types.clone(), self.file.clone(), self.drop_names.clone());
        let raw_tracepoints = self.lacks_own_btf.is_some();
        Ok(Plan {
            combination,
            tracepoint,
            enumerators,
            exit,
            entries,
            synack_exit,
            has_cookie_helper,
            accept_parameters,
            has_end,
            has_undo,
            raw_tracepoints,
            drop_names,
            types,
            file,
        })
    }
}

/// The companions that may be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Companions {
    /// The best that the kernel supports, or none.
    Any,
    /// Nothing.
    None,
    /// This companion is required. Tests use it to select combinations that other kernels would
    /// use.
    #[cfg(feature = "test-util")]
    Only(AttachMethod),
}

/// An attach method and its companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Combination {
    pub(super) method: AttachMethod,
    pub(super) companion: Option<AttachMethod>,
    /// True if `tcp_fragment()` is attached to, which locates the allocation site of -ENOMEM.
    pub(super) sites: bool,
}

impl Combination {
    /// Returns the method by which programs attach to functions, if any do.
    pub(super) fn exit_method(self) -> Option<AttachMethod> {
        let is_exit = |method: &AttachMethod| matches!(method, AttachMethod::Fexit | AttachMethod::Kretprobe);
        Some(self.method).filter(is_exit).or(self.companion)
    }

    /// Returns the method by which function exits report each attempt, if they do.
    pub(super) fn by_exit(self) -> Option<AttachMethod> {
        match self.method {
            AttachMethod::Fexit | AttachMethod::Kretprobe => Some(self.method),
            AttachMethod::TpEnum => self.companion,
            _ => None,
        }
    }
}

impl std::fmt::Display for Combination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.method)?;
        if let Some(companion) = self.companion {
            write!(f, "+{companion}")?;
        }
        f.write_str(if self.sites { "+sites" } else { "" })
    }
}

/// The tracepoint's third argument as the BPF programs read it (`enum retrans_third_arg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThirdArgMode {
    None,
    Err,
    Enum,
}

/// A combination that BTF allows, with everything needed to load it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) combination: Combination,
    /// The tracepoint is attached to with every method: it reports attempts whose entry was not
    /// observed.
    pub(super) tracepoint: Option<ThirdArgMode>,
    pub(super) enumerators: Enumerators,
    /// The BTF id of a function whose exit is attached to, if any.
    pub(super) exit: Option<u32>,
    /// True if programs are attached to the entries of the functions that retransmit segments.
    pub(super) entries: bool,
    /// The method by which a program attaches to the exit of `tcp_rtx_synack()`, which reports the
    /// failures of SYN-ACKs.
    pub(super) synack_exit: Option<AttachMethod>,
    pub(super) has_cookie_helper: bool,
    /// The number of parameters of `inet_csk_accept()`, which determines where its return value is
    /// found.
    pub(super) accept_parameters: Option<usize>,
    has_end: bool,
    has_undo: bool,
    /// True if the tracepoints are attached to without the kernel's own BTF.
    pub(super) raw_tracepoints: bool,
    /// The names of the reasons of drops, if the kernel reports reasons.
    pub(super) drop_names: Option<Arc<DropNames>>,
    types: Option<Arc<Subset>>,
    file: Option<PathBuf>,
}

impl Plan {
    /// Returns the file with the types that relocations need: the subset, or all of them. Returns
    /// `None` if libbpf reads the kernel's own BTF.
    pub(super) fn types(&self) -> Option<&Path> {
        self.types.as_deref().map(Subset::path).or(self.file.as_deref())
    }

    /// Returns the hooks that report verdicts.
    pub(super) fn verdict_hooks(&self) -> VerdictHooks {
        let requires = |is_met, reason: &str| if is_met { Ok(()) } else { Err(reason.to_owned()) };
        let ended = requires(!self.raw_tracepoints, "requires the kernel's own BTF")
            .and_then(|()| requires(self.has_cookie_helper, "requires the cookies of Linux 5.12"))
            .and_then(|()| requires(self.has_end, "BTF has no tracepoint inet_sock_set_state"));
        let undo = ended
            .clone()
            .and_then(|()| requires(self.has_undo, "BTF has no tracepoint tcp_cong_state_set (before Linux 5.19)"));
        VerdictHooks { ended: Support::of(ended), undo: Support::of(undo) }
    }

    /// Returns whether the allocation site of -ENOMEM is located: by a program, or by the kernel's
    /// own enum.
    pub(super) fn locates_nomem(&self) -> bool {
        self.combination.sites
            || (self.combination.method == AttachMethod::TpEnum
                && [RetransResult::TrimHeadNomem, RetransResult::FragNomem, RetransResult::UncloneNomem]
                    .iter()
                    .all(|site| self.enumerators.results.contains(&site.raw())))
    }
}

/// The number of enumerators that the BPF programs map (`RETRANS_MAX_ENUMERATORS`).
pub(super) const MAX_ENUMERATORS: usize = 32;

/// The meaning of the kernel's enumerators by name, since their numbers differ between the versions
/// of the proposal.
#[derive(Debug, Default)]
pub(super) struct Enumerators {
    /// The table's number, or `RETRANS_RESULT_UNKNOWN` and the kernel's, by the kernel's number.
    pub(super) results: [u32; MAX_ENUMERATORS],
    /// The kernel's names of unlisted results, by the number that their events contain.
    pub(super) unlisted: BTreeMap<u32, String>,
}

/// Names of versions of the proposal for results that the table contains under another name.
const OTHER_NAMES: [(&str, RetransResult); 2] = [
    // v4 has one name for all sites.
    ("TCP_RETRANS_NOMEM", RetransResult::Nomem),
    // In v1 it means "terminated unexpectedly", which later versions call the default.
    ("TCP_RETRANS_QUIT_UNDEFINED", RetransResult::ErrDefault),
];

impl Enumerators {
    /// Returns the slots in which results are counted, including the slots of the kernel's
    /// enumerators that the table lacks.
    pub(super) fn slots(&self) -> ResultSlots {
        let slots = ResultSlots::new();
        for raw in self.results.iter().filter(|raw| self.unlisted.contains_key(raw)) {
            slots.slot_of(RetransResult::from_raw(*raw));
        }
        slots
    }

    /// Returns the slot of each of the kernel's numbers that the table lacks (`unlisted_slots` in
    /// `bpf/classify.bpf.h`).
    pub(super) fn unlisted_slots(&self) -> [u8; MAX_ENUMERATORS] {
        let slots = self.slots();
        std::array::from_fn(|number| {
            let raw = UNLISTED_BASE | number as u32;
            let slot = if self.unlisted.contains_key(&raw) {
                slots.slot_of(RetransResult::from_raw(raw))
            } else {
                SLOT_UNKNOWN
            };
            slot as u8
        })
    }

    fn by_name(members: &[(String, i64)]) -> Self {
        let mut all = Self { results: std::array::from_fn(|number| UNLISTED_BASE | number as u32), ..Self::default() };
        for (name, number) in members {
            let number = *number as u32 & 0xffff;
            let of_the_table = RetransResult::ALL.iter().find(|entry| entry.c_name == Some(name.as_str()));
            let of_another = || OTHER_NAMES.iter().find(|(other, _)| other == name);
            let known = of_the_table.map(|entry| entry.number).or_else(|| of_another().map(|(_, result)| result.raw()));
            match (known, all.results.get_mut(number as usize)) {
                (Some(known), Some(result)) => *result = known,
                _ => {
                    all.unlisted.insert(UNLISTED_BASE | number, name.clone());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FRAGMENT, FUNCTIONS, Made, SYNACK, kernel};

    fn combinations_of(source: &str) -> Vec<(String, Result<Plan, String>)> {
        combinations_with(source, true)
    }

    fn combinations_with(source: &str, locate_nomem: bool) -> Vec<(String, Result<Plan, String>)> {
        let btf = btf::read(Made::object(source).as_path()).expect("BTF");
        let kernel = Kernel::read(&btf).expect("a kernel");
        kernel
            .combinations(Companions::Any, locate_nomem)
            .into_iter()
            .map(|(combination, plan)| (combination.to_string(), plan))
            .collect()
    }

    fn admitted(source: &str) -> Vec<String> {
        combinations_of(source)
            .into_iter()
            .filter(|(_, plan)| plan.is_ok())
            .map(|(combination, _)| combination)
            .collect()
    }

    #[test]
    fn the_third_argument_and_the_functions_decide() {
        assert_eq!(admitted(&kernel(Some("int"))), ["tp_err", "kretprobe"]);
        assert_eq!(admitted(&kernel(None)), ["kretprobe", "tp_success"]);
        let with = |third, more: &str| format!("{}{more}", kernel(third));
        assert_eq!(admitted(&with(None, FUNCTIONS)), ["fexit", "kretprobe", "tp_success"]);
        assert_eq!(admitted(&with(Some("int"), FUNCTIONS)), ["tp_err", "fexit", "kretprobe"]);
        let both = format!("{FUNCTIONS}{FRAGMENT}");
        let expected = ["tp_err+fexit+sites", "tp_err", "fexit+sites", "fexit", "kretprobe"];
        assert_eq!(admitted(&with(Some("int"), &both)), expected);
        assert_eq!(admitted(&with(Some("int"), SYNACK)), ["tp_err+fexit", "tp_err", "kretprobe"]);
        let proposal = Some("enum tcp_retransmit_quit_reason");
        let expected = ["tp_enum+fexit", "tp_enum+kretprobe", "tp_enum", "fexit", "kretprobe"];
        assert_eq!(admitted(&with(proposal, FUNCTIONS)), expected);
        // The argument is not supported; the other methods are.
        assert_eq!(admitted(&with(Some("void *"), FUNCTIONS)), ["fexit", "kretprobe"]);
    }

    #[test]
    fn a_function_with_other_parameters_is_another() {
        let other = FUNCTIONS.replace("long segs", "long segs, long more");
        assert_eq!(admitted(&format!("{}{other}", kernel(None))), ["kretprobe", "tp_success"]);
        let other = FRAGMENT.replace("long gfp", "long gfp, long more");
        assert_eq!(admitted(&format!("{}{FUNCTIONS}{other}", kernel(None))), ["fexit", "kretprobe", "tp_success"]);
    }

    #[test]
    fn the_mode_follows_the_third_argument() {
        let read = |third| {
            combinations_of(&kernel(third)).into_iter().find_map(|(_, plan)| plan.ok()).map(|plan| plan.tracepoint)
        };
        assert_eq!(read(None), Some(Some(ThirdArgMode::None)));
        assert_eq!(read(Some("int")), Some(Some(ThirdArgMode::Err)));
        assert_eq!(read(Some("enum tcp_retransmit_quit_reason")), Some(Some(ThirdArgMode::Enum)));
        assert_eq!(read(Some("void *")), Some(None));
    }

    #[test]
    fn allocation_sites_are_reported_by_fexit_or_by_the_enum() {
        let tell = |third, more: &str| -> Vec<_> {
            let combinations = combinations_of(&format!("{}{FUNCTIONS}{more}", kernel(third)));
            combinations
                .into_iter()
                .filter_map(|(combination, plan)| plan.ok()?.locates_nomem().then_some(combination))
                .collect()
        };
        assert_eq!(tell(None, ""), [""; 0]);
        assert_eq!(tell(None, FRAGMENT), ["fexit+sites"]);
        let proposal = Some("enum tcp_retransmit_quit_reason");
        assert_eq!(tell(proposal, ""), ["tp_enum+fexit", "tp_enum+kretprobe", "tp_enum"]);
    }

    #[test]
    fn sites_are_located_only_on_request() {
        let source = |third| format!("{}{FUNCTIONS}{FRAGMENT}{SYNACK}", kernel(third));
        for third in [None, Some("int"), Some("enum tcp_retransmit_quit_reason")] {
            let asked = combinations_with(&source(third), true);
            let unasked = combinations_with(&source(third), false);
            assert!(asked.iter().any(|(name, plan)| name.ends_with("+sites") && plan.is_ok()), "{third:?}");
            assert!(unasked.iter().all(|(_, plan)| plan.as_ref().map_or(true, |plan| !plan.combination.sites)));
            // Nothing else differs.
            let others = asked.iter().map(|(name, _)| name).filter(|name| !name.ends_with("+sites"));
            assert_eq!(others.collect::<Vec<_>>(), unasked.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        let unasked = combinations_with(&source(Some("int")), false);
        let (_, best) = unasked.iter().find(|(name, _)| name == "tp_err+fexit").expect("a candidate");
        assert!(best.as_ref().is_ok_and(|plan| plan.entries && !plan.locates_nomem()), "{best:?}");
    }

    #[test]
    fn synack_failures_are_reported_wherever_exits_are_attached_to() {
        let reporting = |third, more: &str| -> Vec<_> {
            let combinations = combinations_of(&format!("{}{FUNCTIONS}{more}", kernel(third)));
            let exits = combinations.into_iter().filter_map(|(combination, plan)| Some((combination, plan.ok()?)));
            exits.filter_map(|(combination, plan)| Some(format!("{combination} by {}", plan.synack_exit?))).collect()
        };
        assert_eq!(reporting(None, ""), [""; 0]);
        assert_eq!(reporting(None, &SYNACK.replace("long req", "long req, long more")), [""; 0]);
        assert_eq!(reporting(None, SYNACK), ["fexit by fexit", "kretprobe by kretprobe"]);
        let expected = ["tp_err+fexit by fexit", "fexit by fexit", "kretprobe by kretprobe"];
        assert_eq!(reporting(Some("int"), SYNACK), expected);
        let proposal = Some("enum tcp_retransmit_quit_reason");
        let expected =
            ["tp_enum+fexit by fexit", "tp_enum+kretprobe by kretprobe", "fexit by fexit", "kretprobe by kretprobe"];
        assert_eq!(reporting(proposal, SYNACK), expected);
    }

    #[test]
    fn an_excluded_method_has_a_reason() {
        let combinations = combinations_of(&kernel(None));
        let why = |wanted: &str| {
            let (_, plan) = combinations.iter().find(|(combination, _)| combination == wanted).expect("a combination");
            plan.as_ref().expect_err("not admitted").clone()
        };
        assert_eq!(why("tp_err"), "the tracepoint's third argument is absent");
        assert_eq!(why("tp_enum"), "the tracepoint's third argument is absent");
        assert_eq!(why("fexit"), "BTF has no tcp_retransmit_skb and __tcp_retransmit_skb of three parameters");
        let combinations = combinations_of(&kernel(Some("int")));
        let (_, plan) = combinations.last().expect("tp_success is the last");
        assert_eq!(plan.as_ref().expect_err("every attempt is reported"), "the tracepoint's third argument is int err");
    }

    #[test]
    fn enumerators_are_matched_by_name() {
        let of = |members: &[(&str, i64)]| {
            Enumerators::by_name(
                &members.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect::<Vec<_>>(),
            )
        };
        // v4's numbers: 4 is not the table's 4.
        let v4 = of(&[
            ("TCP_RETRANS_ERR_DEFAULT", 0),
            ("TCP_RETRANS_SUCCESS", 1),
            ("TCP_RETRANS_IN_HOST_QUEUE", 2),
            ("TCP_RETRANS_END_SEQ_ERROR", 3),
            ("TCP_RETRANS_NOMEM", 4),
            ("TCP_RETRANS_ROUTE_FAIL", 5),
            ("TCP_RETRANS_RCV_ZERO_WINDOW", 6),
        ]);
        assert_eq!(v4.results[..8], [0, 1, 2, 3, 128, 7, 8, UNLISTED_BASE | 7]);
        assert!(v4.unlisted.is_empty());
        // v1's 0 is success.
        let v1 = of(&[("TCP_RETRANS_SUCCESS", 0), ("TCP_RETRANS_QUIT_UNDEFINED", 9)]);
        assert_eq!((v1.results[0], v1.results[9]), (1, 0));
        // An unlisted enumerator is never mapped to a listed one, and keeps its name.
        let newer = of(&[("TCP_RETRANS_SUCCESS", 0), ("TCP_RETRANS_LATER", 1), ("TCP_RETRANS_FAR", 40)]);
        assert_eq!(newer.results[..2], [1, UNLISTED_BASE | 1]);
        assert_eq!(newer.unlisted[&(UNLISTED_BASE | 1)], "TCP_RETRANS_LATER");
        assert_eq!(newer.unlisted[&(UNLISTED_BASE | 40)], "TCP_RETRANS_FAR");
        assert_eq!(RetransResult::from_raw(UNLISTED_BASE | 40).to_string(), "k40");
        assert!(!of(&[("SOMETHING_ELSE", 0)]).results.contains(&1));
    }

    #[test]
    fn unlisted_enumerators_have_slots_of_their_own() {
        let members =
            [("TCP_RETRANS_SUCCESS", 0), ("TCP_RETRANS_LATER", 1), ("TCP_RETRANS_LATEST", 17), ("TCP_RETRANS_FAR", 40)];
        let all = Enumerators::by_name(&members.map(|(name, number)| (name.to_owned(), number)));
        let (slots, by_number) = (all.slots(), all.unlisted_slots());
        for number in [1, 17] {
            let result = slots.result_of(by_number[number].into());
            assert_eq!(result.map(|result| result.to_string()), Some(format!("k{number}")));
        }
        // Not an enumerator of this kernel, and one above the numbers that the programs map.
        assert_eq!(usize::from(by_number[2]), SLOT_UNKNOWN);
        assert_eq!(
            (0..SLOT_UNKNOWN)
                .filter(|at| slots.result_of(*at) == Some(RetransResult::from_raw(UNLISTED_BASE | 40)))
                .count(),
            0
        );
    }

    #[test]
    fn verdicts_require_tracepoints_and_cookies() {
        let hooks = |more: &str| {
            let combinations = combinations_of(&format!("{}{more}", kernel(Some("int"))));
            let (_, plan) = combinations.into_iter().find(|(name, _)| name == "tp_err").expect("a candidate");
            plan.expect("admitted").verdict_hooks().to_string()
        };
        let cookie = "long bpf_get_socket_ptr_cookie(long r1) { return r1; }";
        let end = "typedef void (*btf_trace_inet_sock_set_state)(void *); btf_trace_inet_sock_set_state end;";
        let undo = "typedef void (*btf_trace_tcp_cong_state_set)(void *); btf_trace_tcp_cong_state_set undo;";
        assert_eq!(hooks(""), "verdicts=-");
        assert_eq!(hooks(&format!("{end}{undo}")), "verdicts=-");
        assert_eq!(hooks(&format!("{cookie}{undo}")), "verdicts=-");
        assert_eq!(hooks(&format!("{cookie}{end}")), "verdicts=ended");
        assert_eq!(hooks(&format!("{cookie}{end}{undo}")), "verdicts=ended,undo");
    }

    #[test]
    fn a_kernel_without_the_tracepoint_is_an_error() {
        let btf = btf::read(Made::object("volatile int one;").as_path()).expect("BTF");
        let error = Kernel::read(&btf).expect_err("there is no tracepoint in it");
        assert_eq!(error.kind(), crate::error::ErrorKind::NoTracepoint);
        assert!(error.to_string().contains("tcp:tcp_retransmit_"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_distinguished_from_one_without_btf() {
        const ENOENT: i32 = 2;
        let error = btf::read(Path::new("/nonexistent/btf")).expect_err("there is no such file");
        assert_eq!((error.kind(), error.raw_os_error()), (crate::error::ErrorKind::NoBtf, Some(ENOENT)));
        assert_eq!(error.to_string(), "cannot open /nonexistent/btf: No such file or directory (os error 2)");
        let error = btf::read(Path::new("/proc/self/cmdline")).expect_err("not BTF");
        assert_eq!(error.kind(), crate::error::ErrorKind::NoBtf);
        assert!(error.to_string().starts_with("no BTF in /proc/self/cmdline"), "{error}");
    }

    #[test]
    fn the_cookie_helper_is_used_where_btf_has_it() {
        let has = |source: &str| {
            let btf = btf::read(Made::object(source).as_path()).expect("BTF");
            Kernel::read(&btf).expect("a kernel").has_cookie_helper
        };
        // Linux 5.10 has the helpers of other program types only.
        let old = format!("{} long bpf_get_socket_cookie_sock(long r1) {{ return r1; }}", kernel(None));
        assert!(!has(&old));
        assert!(has(&format!("{old} long bpf_get_socket_ptr_cookie(long r1) {{ return r1; }}")));
    }
}
