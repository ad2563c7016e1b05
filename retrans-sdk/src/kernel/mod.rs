// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel side, loaded and attached. The only module that knows libbpf.

pub(crate) mod attach_method;
pub(crate) mod attachment;
pub(crate) mod btf;
mod btf_subset;
#[cfg(feature = "check")]
pub(crate) mod c_enum;
mod capabilities;
pub(crate) mod config;
pub(crate) mod diagnosis;
#[cfg(not(retrans_docs_only))]
mod layout;
mod libbpf_error;
mod libbpf_log;
#[cfg_attr(retrans_docs_only, path = "object_stub.rs")]
mod object;
pub(crate) mod owner_hooks;
mod plan;
#[cfg(not(retrans_docs_only))]
mod probe;
#[cfg(not(retrans_docs_only))]
mod program;
mod ring;
mod socket_owners;
pub(crate) mod socket_set;
pub(crate) mod support;
pub(crate) mod unobservable;
mod wakeup;

/// What libbpf-cargo generates from `bpf/retrans.bpf.c`.
#[cfg(not(retrans_docs_only))]
#[allow(unsafe_code, unreachable_pub, clippy::all)]
#[allow(clippy::expect_used, clippy::panic, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/retrans.skel.rs"));
}

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

#[cfg(feature = "check")]
pub(crate) use self::btf::third_argument;
pub(crate) use self::btf::{ThirdArgument, VMLINUX, read as read_btf};
#[cfg(feature = "check")]
pub(crate) use self::c_enum::{enums, enums_of_object};
#[cfg(feature = "test-util")]
use self::config::Wakeup;
use self::config::{Ring, Wanted};
use self::object::Object;
#[cfg(feature = "check")]
pub(crate) use self::object::object_bytes;
pub(crate) use self::plan::Companions;
use self::plan::{Kernel, Plan, Way};
use self::ring::Reader;
use self::socket_owners::Owners;
use self::socket_set::SocketSet;
use self::wakeup::Wakeups;
use crate::error::{Error, ErrorKind};
use crate::event::buffer::EventBuffer;
use crate::event::result::RetransResult;
use crate::filter::operand;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::attachment::{Attachment, Candidate, CandidateOutcome, Timing};
use crate::kernel::owner_hooks::OwnerHooks;
use crate::stats::reader::{StatsReader, add};

/// The ring, with the programs that fill it.
pub(crate) struct Source {
    reader: Reader,
    wakeups: Wakeups,
    shows_cookie: bool,
    pub(crate) programs: Attached,
}

/// The programs, attached. Dropping it detaches them.
pub(crate) struct Attached {
    object: Object,
    /// Where they are asked for.
    owners: Option<Owners>,
    /// The kernel's names of the results that the table lacks, by number.
    names: BTreeMap<u32, String>,
    /// Where the filter asks for them.
    pub(crate) own_sockets: Option<SocketSet>,
    pub(crate) stats: StatsReader,
}

/// Loads and attaches the best that the kernel admits. On an error nothing of it is left.
pub(crate) fn open(wanted: &Wanted, ring: Ring) -> Result<(Source, Attachment), Error> {
    open_as(wanted, |plan, wanted| attach(plan, wanted, ring))
}

/// The same without a ring.
pub(crate) fn open_counters(wanted: &Wanted) -> Result<(Attached, Attachment), Error> {
    open_as(wanted, |plan, wanted| attach_object(Object::load(&plan, wanted)?, plan, wanted))
}

fn open_as<T>(wanted: &Wanted, attach: impl Fn(Plan, &Wanted) -> Result<T, Error>) -> Result<(T, Attachment), Error> {
    capabilities::check()?;
    let began = Instant::now();
    // Let go of last: once malloc has seen as much come and go, it would take libbpf's own reading from the heap, and keep the room.
    let vmlinux = read_btf(Path::new(VMLINUX))?;
    let kernel = Kernel::read(&vmlinux)?;
    let btf = began.elapsed();
    let ways = kernel.ways(wanted.companions);
    let (attached, mut attachment) = attach_best(&kernel.third, ways, wanted.forced, |plan| attach(plan, wanted))?;
    (attachment.timing.btf, attachment.timing.total) = (btf, began.elapsed());
    drop(vmlinux);
    Ok((attached, attachment))
}

/// Tries the methods that BTF admits, best first, until one is `attached`.
fn attach_best<T>(
    third: &ThirdArgument,
    ways: Vec<(Way, Result<Plan, String>)>,
    forced: Option<AttachMethod>,
    mut attach: impl FnMut(Plan) -> Result<T, Error>,
) -> Result<(T, Attachment), Error> {
    let mut candidates = Vec::new();
    let mut refusal = None;
    for (way, plan) in ways {
        if forced.is_some_and(|forced| forced != way.source) {
            continue;
        }
        let locates_nomem = plan.as_ref().is_ok_and(Plan::tells_nomem_sites);
        let began = Instant::now();
        let method = way.to_string();
        let (outcome, elapsed) = match plan.map(&mut attach) {
            Ok(Ok(attached)) => {
                candidates.push(Candidate { method, outcome: CandidateOutcome::Attached, elapsed: began.elapsed() });
                let Way { source: method, companion, .. } = way;
                let attachment = Attachment { method, companion, locates_nomem, candidates, timing: Timing::default() };
                return Ok((attached, attachment));
            }
            Ok(Err(error)) => {
                // Another method would fail as well, or do with less and report nothing of it.
                if error.is_exhaustion() {
                    return Err(error);
                }
                let mut reason = error.in_short();
                if error.kind() == ErrorKind::MissingCapability {
                    reason.push_str(" (by lockdown, a security module, or before Linux 5.11 RLIMIT_MEMLOCK)");
                }
                // The refusal of the best method that asked for no more than it requires: a companion may be too much.
                if refusal.as_ref().is_none_or(|(of, _): &(Way, Error)| of.companion.is_some() || of.sites) {
                    refusal = Some((way, error));
                }
                (CandidateOutcome::Refused(reason), began.elapsed())
            }
            Err(reason) => (CandidateOutcome::Unsupported(reason), Duration::ZERO),
        };
        candidates.push(Candidate { method, outcome, elapsed });
    }
    Err(none_is_left(forced, third, &candidates, refusal.map(|(_, error)| error)))
}

fn none_is_left(
    forced: Option<AttachMethod>,
    third: &ThirdArgument,
    candidates: &[Candidate],
    refusal: Option<Error>,
) -> Error {
    let reasons: Vec<_> = candidates.iter().map(Candidate::to_string).collect();
    let reasons = reasons.join("; ");
    match (forced, refusal) {
        (None, Some(refusal)) => refusal,
        (None, None) => {
            let message =
                format!("the tracepoint tcp_retransmit_skb cannot be read, its third argument is {third}: {reasons}");
            Error::new(ErrorKind::UnsupportedTracepoint, message)
        }
        (Some(forced), refusal) => {
            let message = format!("attach method `{forced}` is not available on this kernel: {reasons}");
            let error = Error::new(ErrorKind::MethodUnavailable, message);
            match refusal {
                Some(refusal) => error.with_detail_of(refusal),
                None => error,
            }
        }
    }
}

fn attach(plan: Plan, wanted: &Wanted, ring: Ring) -> Result<Source, Error> {
    let object = Object::load(&plan, wanted)?;
    let reader = Reader::new(&object, wanted.epoch)?;
    let wakeups = Wakeups::new(object.ring_fd()?, object.reader()?, ring.max_delay)?;
    let shows_cookie = ring.fields.contains("cookie");
    let programs = attach_object(object, plan, wanted)?;
    Ok(Source { reader, wakeups, shows_cookie, programs })
}

fn attach_object(mut object: Object, plan: Plan, wanted: &Wanted) -> Result<Attached, Error> {
    let observes_failures = plan.way.source.observes_failures();
    let slots = plan.enumerators.slots();
    let stats = StatsReader::new(object.counters()?, slots, object.essential(&plan)?, observes_failures);
    let own_sockets =
        wanted.filter.uses(operand::RETRANS_FIELD_OWN_SOCKET).then(|| object.own_sockets()).transpose()?;
    // Before anything is attached: of these no attempt is missed.
    own_sockets.as_ref().map(SocketSet::add_all).transpose()?;
    let owners = wanted.owners.then(|| Owners::open(object.owners()?, &plan)).transpose()?;
    object.attach()?;
    Ok(Attached { object, owners, names: plan.enumerators.unknown, own_sockets, stats })
}

impl Attached {
    /// Detaches the programs; maps and counters stay. Requires no capability.
    pub(crate) fn detach(&mut self) {
        self.object.detach();
    }

    /// The kernel's name of a result that the table lacks.
    pub(crate) fn kernel_name(&self, result: RetransResult) -> Option<&str> {
        self.names.get(&result.raw()).map(String::as_str)
    }

    /// By what it is known which process a socket belongs to, where that is asked for.
    pub(crate) fn owner_hooks(&self) -> Option<&OwnerHooks> {
        self.owners.as_ref().map(|owners| &owners.hooks)
    }
}

impl Source {
    /// Puts up to `most` records into `events`, in place of what is there, and counts those that fail their checks. Whether there may be
    /// more. Does not block.
    pub(crate) fn read(&mut self, most: usize, events: &mut EventBuffer) -> Result<bool, Error> {
        events.clear();
        let mut read = self.reader.consume(most)?;
        if read < most {
            // A record that comes in now wakes the reader if it sees that this one has caught up; and if it does not see it, it is seen here.
            fence(Ordering::SeqCst);
            read += self.reader.consume(most - read)?;
        }
        let bad = self.reader.take(events);
        if read < most {
            self.wakeups.emptied(read > 0)?;
        }
        if bad > 0 {
            add(&self.programs.stats.user().dropped, bad);
        }
        if let Some(owners) = &self.programs.owners {
            for event in events.events_mut() {
                owners.complete(event);
                // It was asked for to know the owner by, and by nobody else.
                event.cookie = event.cookie.filter(|_| self.shows_cookie);
            }
        }
        Ok(read == most)
    }

    /// For the tests' harness.
    #[cfg(feature = "test-util")]
    pub(crate) fn ring(&self) -> ([BorrowedFd<'_>; 2], Wakeup) {
        (self.programs.object.ring_maps(), self.programs.object.wakeup())
    }

    /// Readable when there is something to be read, and now and then when there is not.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wakeups.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::testing::{FRAGMENT, FUNCTIONS, Made, kernel};

    fn kernel_of(third: Option<&str>) -> Kernel {
        let made = Made::object(&format!("{}{FUNCTIONS}", kernel(third)));
        Kernel::read(&read_btf(made.as_path()).expect("BTF")).expect("a kernel")
    }

    fn best<T>(
        kernel: &Kernel,
        forced: Option<AttachMethod>,
        attach: impl FnMut(Plan) -> Result<T, Error>,
    ) -> Result<(T, Attachment), Error> {
        attach_best(&kernel.third, kernel.ways(Companions::Any), forced, attach)
    }

    fn refuse(_: Plan) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Load, "cannot load the programs").with_detail("\n    at length"))
    }

    #[test]
    fn the_next_candidate_is_tried_when_one_is_refused() {
        let mut tried = Vec::new();
        let (_, attachment) = best(&kernel_of(None), None, |plan| {
            tried.push(plan.way.to_string());
            if plan.way.source == AttachMethod::Fexit { refuse(plan) } else { Ok(()) }
        })
        .expect("kprobes");
        assert_eq!(tried, ["fexit", "kretprobe"]);
        assert_eq!((attachment.method, attachment.companion), (AttachMethod::Kretprobe, None));
        assert!(attachment.observes_failures() && attachment.observes_err() && !attachment.locates_nomem);
        let listed: Vec<_> = attachment.candidates.iter().map(Candidate::to_string).collect();
        let absent = "the tracepoint's third argument is absent";
        let expected = [
            format!("tp_enum+fexit+sites: {absent}"),
            format!("tp_enum+fexit: {absent}"),
            format!("tp_enum+kretprobe: {absent}"),
            format!("tp_enum: {absent}"),
            format!("tp_err+fexit+sites: {absent}"),
            format!("tp_err: {absent}"),
            "fexit+sites: BTF has no tcp_fragment of six parameters".to_owned(),
            "fexit: cannot load the programs".to_owned(),
            "kretprobe: attached".to_owned(),
        ];
        assert_eq!(listed, expected);
        let refused = |candidate: &&Candidate| matches!(candidate.outcome, CandidateOutcome::Refused(_));
        let refused: Vec<_> = attachment.unavailable().filter(refused).map(|candidate| &*candidate.method).collect();
        assert_eq!(refused, ["fexit"]);
    }

    #[test]
    fn a_forced_method_that_is_unavailable_is_an_error_with_the_reasons() {
        let force = |kernel: &Kernel, forced| best(kernel, Some(forced), refuse).expect_err("refused");
        let error = force(&kernel_of(None), AttachMethod::TpErr);
        assert_eq!(error.kind(), ErrorKind::MethodUnavailable);
        let text = error.to_string();
        assert!(
            text.starts_with("attach method `tp_err` is not available on this kernel: ")
                && text.contains("third argument is absent"),
            "{text}"
        );
        let error = force(&kernel_of(Some("int")), AttachMethod::Fexit);
        assert_eq!(error.kind(), ErrorKind::MethodUnavailable);
        assert!(
            error.to_string().contains("fexit: cannot load the programs") && error.to_string().contains("at length"),
            "{error}"
        );

        let mut tried = Vec::new();
        let forced = best(&kernel_of(Some("int")), Some(AttachMethod::Kretprobe), |plan| {
            tried.push(plan.way.to_string());
            Ok(())
        });
        assert_eq!(forced.expect("kprobes").1.unavailable().count(), 0);
        assert_eq!(tried, ["kretprobe"]);
    }

    #[test]
    fn if_all_are_refused_the_error_is_of_the_best() {
        let made = Made::object(&format!("{}{FUNCTIONS}{FRAGMENT}", kernel(Some("int"))));
        let full = Kernel::read(&read_btf(made.as_path()).expect("BTF")).expect("a kernel");
        let mut refused = 0;
        let error = best(&full, None, |plan| -> Result<(), Error> {
            refused += 1;
            Err(Error::new(ErrorKind::Load, format!("no {}", plan.way)))
        });
        assert_eq!(error.expect_err("refused").to_string(), "no tp_err");
        assert_eq!(refused, 5, "tp_err+fexit+sites, tp_err, fexit+sites, fexit, kretprobe");
        let error = best(&kernel_of(Some("void *")), Some(AttachMethod::TpSuccess), refuse).expect_err("void *");
        assert_eq!(error.kind(), ErrorKind::MethodUnavailable);
    }

    #[test]
    fn the_candidates_are_listed_up_to_the_one_in_use() {
        let kernel = kernel_of(Some("enum tcp_retransmit_quit_reason"));
        let (_, attachment) = best(&kernel, None, |_| Ok(())).expect("the enum");
        assert_eq!((attachment.method, attachment.companion), (AttachMethod::TpEnum, Some(AttachMethod::Fexit)));
        assert_eq!(attachment.to_string(), "source=tp_enum companion=fexit");
        let better: Vec<_> = attachment.unavailable().map(|candidate| &*candidate.method).collect();
        assert_eq!(better, ["tp_enum+fexit+sites"]);
        assert!(attachment.observes_err() && attachment.locates_nomem);
        let alone = best(&kernel, None, |plan| if plan.way.companion.is_some() { refuse(plan) } else { Ok(()) });
        let (_, alone) = alone.expect("the enum alone");
        assert!(alone.observes_failures() && !alone.observes_err());
        assert_eq!(alone.unavailable().count(), 3);

        let unaccompanied = attach_best(&kernel.third, kernel.ways(Companions::None), None, |_| Ok(()));
        let (_, unaccompanied) = unaccompanied.expect("the enum alone");
        assert_eq!(unaccompanied.companion, None);
        assert!(unaccompanied.unavailable().all(|over| over.reason() == Some("not asked for")), "{unaccompanied:?}");
    }
}
