// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of the object, and which of them a plan takes.

use libbpf_rs::ProgramMut;

use super::plan::{Plan, Way};
use super::skel::RetransSkel;
use crate::AttachSource;

macro_rules! programs {
    ($( $program:ident = $field:ident, )*) => {
        /// A program of the object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Program {
            $( $program, )*
        }

        impl Program {
            /// Its name in the object.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $( Self::$program => stringify!($field), )*
                }
            }

            /// Attaching it, as a continuation of "cannot".
            pub(super) const fn attaching(self) -> &'static str {
                match self {
                    $( Self::$program => concat!("attach ", stringify!($field)), )*
                }
            }

            /// The program, loaded.
            pub(super) fn in_skeleton<'a, 'obj>(self, skeleton: &'a RetransSkel<'obj>) -> &'a ProgramMut<'obj> {
                match self {
                    $( Self::$program => &skeleton.progs.$field, )*
                }
            }
        }
    };
}

programs! {
    RetransmitSkb = retransmit_skb,
    RetransmitSynack = retransmit_synack,
    FentryOuter = fentry_outer,
    FexitOuter = fexit_outer,
    FentryInner = fentry_inner,
    FexitInner = fexit_inner,
    FexitTrimHead = fexit_trim_head,
    FexitFragment = fexit_fragment,
    KprobeOuter = kprobe_outer,
    KretprobeOuter = kretprobe_outer,
    KprobeInner = kprobe_inner,
    KretprobeInner = kretprobe_inner,
}

impl Program {
    /// Those of a plan, in the order in which they are attached: an exit before its entry, so that no entry is without one.
    pub(super) fn of(plan: &Plan) -> Vec<Self> {
        let Way { source, companion } = plan.way;
        let mut programs = vec![Self::RetransmitSynack];
        let by_exit = match (source, companion) {
            (AttachSource::Fexit | AttachSource::Kretprobe, _) => Some(source),
            (AttachSource::TpEnum, companion) => companion,
            _ => None,
        };
        match by_exit {
            Some(AttachSource::Fexit) => programs.extend([Self::FexitOuter, Self::FexitInner]),
            Some(AttachSource::Kretprobe) => programs.extend([Self::KretprobeOuter, Self::KretprobeInner]),
            _ => {}
        }
        if plan.sites {
            programs.extend([Self::FexitTrimHead, Self::FexitFragment]);
        }
        if plan.sites || by_exit == Some(AttachSource::Fexit) {
            programs.extend([Self::FentryOuter, Self::FentryInner]);
        } else if by_exit == Some(AttachSource::Kretprobe) {
            programs.extend([Self::KprobeOuter, Self::KprobeInner]);
        }
        if matches!(source, AttachSource::TpEnum | AttachSource::TpErr | AttachSource::TpSuccess) {
            programs.push(Self::RetransmitSkb);
        }
        programs
    }

    /// The function that it is a kprobe of, and whether of its return.
    pub(super) const fn kprobe(self) -> Option<(&'static str, bool)> {
        match self {
            Self::KprobeOuter => Some(("tcp_retransmit_skb", false)),
            Self::KretprobeOuter => Some(("tcp_retransmit_skb", true)),
            Self::KprobeInner => Some(("__tcp_retransmit_skb", false)),
            Self::KretprobeInner => Some(("__tcp_retransmit_skb", true)),
            _ => None,
        }
    }

    /// Whether it begins an attempt.
    pub(super) const fn is_entry(self) -> bool {
        matches!(self, Self::FentryOuter | Self::KprobeOuter)
    }

    /// Whether it tells of an attempt at the function's exit.
    pub(super) const fn is_exit(self) -> bool {
        matches!(self, Self::FexitOuter | Self::KretprobeOuter)
    }
}
