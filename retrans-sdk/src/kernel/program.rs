// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BPF programs of the object, and those that a plan requires.

use libbpf_rs::ProgramMut;

use super::plan::Plan;
use super::skel::RetransSkel;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::support::Support;
use crate::kernel::verdict_hooks::VerdictHooks;

macro_rules! programs {
    ($( $program:ident = $field:ident, )*) => {
        /// A program of the object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Program {
            $( $program, )*
        }

        impl Program {
            /// Returns its name in the object.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $( Self::$program => stringify!($field), )*
                }
            }

            /// Returns the step of attaching it, for an error.
            pub(super) const fn attaching(self) -> &'static str {
                match self {
                    $( Self::$program => concat!("attach ", stringify!($field)), )*
                }
            }

            /// Returns the loaded program.
            pub(super) fn in_skeleton<'a, 'obj>(self, skeleton: &'a RetransSkel<'obj>) -> &'a ProgramMut<'obj> {
                match self {
                    $( Self::$program => &skeleton.progs.$field, )*
                }
            }
        }
    };
}

programs! {
    RetransmitSkb = rt_tp_skb,
    RetransmitSynack = rt_tp_synack,
    FentryOuter = rt_fentry_outer,
    FexitOuter = rt_fexit_outer,
    FentryInner = rt_fentry_inner,
    FexitInner = rt_fexit_inner,
    FexitFragment = rt_fexit_frag,
    KprobeOuter = rt_kp_outer,
    KretprobeOuter = rt_krp_outer,
    KprobeInner = rt_kp_inner,
    KretprobeInner = rt_krp_inner,
    FexitSynack = rt_fexit_synack,
    KprobeSynack = rt_kp_synack,
    KretprobeSynack = rt_krp_synack,
    RawSkb = rt_raw_skb,
    RawSynack = rt_raw_synack,
    Drop = rt_tp_drop,
    RawDrop = rt_raw_drop,
    AgeFentryOuter = rt_age_outer,
    AgeFentryInner = rt_age_inner,
    AgeKprobeOuter = rt_kp_age_outer,
    AgeKprobeInner = rt_kp_age_inner,
    VerdictEnd = rt_verdict_end,
    VerdictUndo = rt_verdict_undo,
}

impl Program {
    /// Returns the programs of a plan in the order of attachment: an exit before its entry, so that
    /// every observed entry has its exit. `drops` adds the program that records drops. `stores_age`
    /// adds the programs that the age of the previous copy of a segment requires, if the plan
    /// attaches to function entries. `hooks` are the requested hooks of verdicts.
    pub(super) fn of(plan: &Plan, drops: bool, stores_age: bool, hooks: Option<&VerdictHooks>) -> Vec<Self> {
        let raw = plan.raw_tracepoints;
        let is_available = |hook: fn(&VerdictHooks) -> &Support| hooks.map(hook).is_some_and(Support::is_available);
        let mut programs = Vec::new();
        // First, so that the end of every tracked connection is observed: otherwise its element
        // would stay in the map.
        if is_available(|hooks| &hooks.ended) {
            programs.push(Self::VerdictEnd);
        }
        if is_available(|hooks| &hooks.undo) {
            programs.push(Self::VerdictUndo);
        }
        // Before the attempts, so that the drops of every observed attempt are observed.
        if drops {
            programs.push(if raw { Self::RawDrop } else { Self::Drop });
        }
        programs.push(if raw { Self::RawSynack } else { Self::RetransmitSynack });
        let by_exit = plan.combination.by_exit();
        match by_exit {
            Some(AttachMethod::Fexit) => programs.extend([Self::FexitOuter, Self::FexitInner]),
            Some(AttachMethod::Kretprobe) => programs.extend([Self::KretprobeOuter, Self::KretprobeInner]),
            _ => {}
        }
        if plan.combination.sites {
            programs.push(Self::FexitFragment);
        }
        match plan.combination.exit_method() {
            Some(AttachMethod::Kretprobe) => programs.extend([Self::KprobeOuter, Self::KprobeInner]),
            Some(_) if plan.entries => programs.extend([Self::FentryOuter, Self::FentryInner]),
            _ => {}
        }
        match plan.combination.exit_method().filter(|_| stores_age && plan.entries) {
            Some(AttachMethod::Kretprobe) => programs.extend([Self::AgeKprobeOuter, Self::AgeKprobeInner]),
            Some(_) => programs.extend([Self::AgeFentryOuter, Self::AgeFentryInner]),
            None => {}
        }
        match plan.synack_exit {
            Some(AttachMethod::Fexit) => programs.push(Self::FexitSynack),
            Some(AttachMethod::Kretprobe) => programs.extend([Self::KretprobeSynack, Self::KprobeSynack]),
            _ => {}
        }
        if plan.tracepoint.is_some() {
            programs.push(if raw { Self::RawSkb } else { Self::RetransmitSkb });
        }
        programs
    }

    /// Returns whether an attempt may not be observed if the kernel skips this program.
    pub(super) fn is_essential(self, plan: &Plan) -> bool {
        match self {
            Self::RetransmitSynack | Self::RawSynack => true,
            Self::FexitSynack | Self::KretprobeSynack | Self::KprobeSynack => true,
            Self::FexitFragment | Self::VerdictEnd | Self::VerdictUndo => false,
            // Without it the fields of the drop are absent.
            Self::Drop | Self::RawDrop => false,
            _ if self.stores_age() => false,
            Self::RetransmitSkb | Self::RawSkb => plan.combination.by_exit().is_none(),
            // Where the tracepoint reports failures, they prove `transmit` and locate -ENOMEM.
            _ => plan.combination.by_exit().is_some(),
        }
    }

    /// Returns whether the program runs at the entry of a function that retransmits segments.
    pub(super) const fn is_entry(self) -> bool {
        matches!(self, Self::FentryOuter | Self::FentryInner | Self::KprobeOuter | Self::KprobeInner)
    }

    /// Returns whether the program stores the time at which a segment was last sent.
    pub(super) const fn stores_age(self) -> bool {
        matches!(self, Self::AgeFentryOuter | Self::AgeFentryInner | Self::AgeKprobeOuter | Self::AgeKprobeInner)
    }

    /// Returns the tracepoint of a program that does not require the kernel's own BTF.
    pub(super) const fn raw_tracepoint(self) -> Option<&'static str> {
        match self {
            Self::RawSkb => Some("tcp_retransmit_skb"),
            Self::RawSynack => Some("tcp_retransmit_synack"),
            Self::RawDrop => Some("kfree_skb"),
            _ => None,
        }
    }

    /// Returns the function of a kprobe, and whether it is a kretprobe.
    pub(super) const fn kprobe(self) -> Option<(&'static str, bool)> {
        match self {
            Self::KprobeOuter => Some(("tcp_retransmit_skb", false)),
            Self::KretprobeOuter => Some(("tcp_retransmit_skb", true)),
            Self::KprobeInner => Some(("__tcp_retransmit_skb", false)),
            Self::KretprobeInner => Some(("__tcp_retransmit_skb", true)),
            Self::AgeKprobeOuter => Some(("tcp_retransmit_skb", false)),
            Self::AgeKprobeInner => Some(("__tcp_retransmit_skb", false)),
            Self::KprobeSynack => Some(("tcp_rtx_synack", false)),
            Self::KretprobeSynack => Some(("tcp_rtx_synack", true)),
            _ => None,
        }
    }
}
