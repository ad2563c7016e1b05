// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens a stream: chooses the best attach method that the kernel supports.
//!
//! # Design
//!
//! BTF decides which combinations are possible, never the kernel's version. Those are tried, best
//! first, since a kernel may refuse what its BTF shows.

use std::path::Path;
use std::time::{Duration, Instant};

use super::btf::{self, ThirdArgument, VMLINUX, read};
use super::capabilities;
use super::config::{Config, RingConfig};
use super::drops::DropResolver;
use super::object::Object;
use super::plan::{Combination, Kernel, Plan, ThirdArgMode};
use super::ring::RingReader;
use super::socket_owners::SocketOwners;
use super::socket_set::SocketSet;
use super::wakeup::Wakeups;
use super::{Attached, Source};
use crate::error::{Error, ErrorKind};
use crate::filter::operand;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::attachment::{Attachment, Candidate, CandidateOutcome, Timing};
use crate::stats::reader::{ObservedFailures, StatsReader};

/// Loads and attaches the BPF programs by the best method that the kernel supports. After an error
/// no program, link or map remains.
pub(crate) fn open(config: &Config, ring: RingConfig) -> Result<(Source, Attachment), Error> {
    open_as(config, |plan, config| attach(plan, config, ring))
}

/// Loads and attaches the BPF programs as [`open`] does, without a ring buffer.
pub(crate) fn open_counters(config: &Config) -> Result<(Attached, Attachment), Error> {
    open_as(config, |plan, config| attach_object(Object::load(&plan, config)?, plan, config))
}

fn open_as<T>(config: &Config, attach: impl Fn(Plan, &Config) -> Result<T, Error>) -> Result<(T, Attachment), Error> {
    capabilities::check()?;
    let began = Instant::now();
    // Dropped last: after such a large allocation is freed, malloc would serve libbpf's own reading
    // from the heap and keep half a megabyte.
    let file = config.btf.as_deref().filter(|file| *file != Path::new(VMLINUX));
    let vmlinux = read(file.unwrap_or(Path::new(VMLINUX)))?;
    let mut kernel = Kernel::read(&vmlinux)?;
    if let Some(file) = file {
        let own = btf::open(Path::new(VMLINUX));
        kernel = kernel.in_file(file, own.map(drop).map_err(|error| error.in_short()))?;
    }
    let btf_time = began.elapsed();
    let combinations = kernel.combinations(config.companions, config.locate_nomem);
    let (attached, mut attachment) =
        attach_best(&kernel.third, combinations, config.forced, |plan| attach(plan, config))?;
    (attachment.timing.btf, attachment.timing.total) = (btf_time, began.elapsed());
    drop(vmlinux);
    Ok((attached, attachment))
}

/// Tries the combinations that BTF allows, best first, until `attach` succeeds.
fn attach_best<T>(
    third: &ThirdArgument,
    combinations: Vec<(Combination, Result<Plan, String>)>,
    forced: Option<AttachMethod>,
    mut attach: impl FnMut(Plan) -> Result<T, Error>,
) -> Result<(T, Attachment), Error> {
    let mut candidates = Vec::new();
    let mut refusal = None;
    for (combination, plan) in combinations {
        if forced.is_some_and(|forced| forced != combination.method) {
            continue;
        }
        let locates_nomem = plan.as_ref().is_ok_and(Plan::locates_nomem);
        let synack_failures = plan.as_ref().is_ok_and(|plan| plan.synack_exit.is_some());
        let began = Instant::now();
        let Combination { method, companion, sites } = combination;
        let (outcome, elapsed) = match plan.map(&mut attach) {
            Ok(Ok(attached)) => {
                let (outcome, elapsed) = (CandidateOutcome::Attached, began.elapsed());
                candidates.push(Candidate { method, companion, sites, outcome, elapsed });
                let timing = Timing::default();
                let attachment = Attachment { method, companion, locates_nomem, synack_failures, candidates, timing };
                return Ok((attached, attachment));
            }
            Ok(Err(error)) => {
                // Another method would fail as well, or succeed with fewer features and without
                // reporting it.
                if error.is_exhaustion() {
                    return Err(error);
                }
                let mut reason = error.in_short();
                if error.kind() == ErrorKind::MissingCapability {
                    reason.push_str(" (by lockdown, a security module, or before Linux 5.11 RLIMIT_MEMLOCK)");
                }
                // Keep the error of the best method without companion and sites, which may be the
                // cause of a refusal.
                if refusal.as_ref().is_none_or(|(of, _): &(Combination, Error)| of.companion.is_some() || of.sites) {
                    refusal = Some((combination, error));
                }
                (CandidateOutcome::Refused(reason), began.elapsed())
            }
            Err(reason) => (CandidateOutcome::Unsupported(reason), Duration::ZERO),
        };
        candidates.push(Candidate { method, companion, sites, outcome, elapsed });
    }
    Err(unavailable_error(forced, third, &candidates, refusal.map(|(_, error)| error)))
}

fn unavailable_error(
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
                format!("unsupported tracepoint tcp_retransmit_skb, whose third argument is {third}: {reasons}");
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

fn attach(plan: Plan, config: &Config, ring_config: RingConfig) -> Result<Source, Error> {
    let object = Object::load(&plan, config)?;
    let resolver = config.drops.then(|| DropResolver::open(plan.drop_names.clone()));
    let ring = RingReader::new(&object, config.epoch, resolver)?;
    let wakeups = Wakeups::new(object.ring_fd()?, object.reader()?, ring_config.max_delay)?;
    let shows_cookie = ring_config.fields.contains("cookie");
    let programs = attach_object(object, plan, config)?;
    Ok(Source { ring, wakeups, shows_cookie, verdicts: Vec::new(), programs })
}

fn attach_object(mut object: Object, plan: Plan, config: &Config) -> Result<Attached, Error> {
    let observes = ObservedFailures {
        any: plan.combination.method.observes_failures(),
        synack: plan.synack_exit.is_some(),
        at_exit_only: plan.combination.by_exit().is_some() && plan.tracepoint == Some(ThirdArgMode::None),
    };
    let verdict_hooks = config.verdicts.then(|| plan.verdict_hooks());
    let slots = plan.enumerators.slots();
    let stats = StatsReader::new(object.counters()?, slots, object.essential(&plan)?, observes);
    let own_sockets =
        config.filter.uses(operand::RETRANS_FIELD_OWN_SOCKET).then(|| object.own_sockets()).transpose()?;
    // Before anything is attached, so no attempt of these sockets is missed.
    own_sockets.as_ref().map(SocketSet::add_all).transpose()?;
    let owners = config.owners.then(|| SocketOwners::open(object.owners()?, &plan)).transpose()?;
    object.attach()?;
    let (names, drop_names) = (plan.enumerators.unlisted, plan.drop_names);
    Ok(Attached { object, owners, names, drop_names, own_sockets, stats, verdict_hooks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::plan::Companions;
    use crate::testing::{FRAGMENT, FUNCTIONS, Made, SYNACK, kernel};

    fn kernel_of(third: Option<&str>) -> Kernel {
        let made = Made::object(&format!("{}{FUNCTIONS}", kernel(third)));
        Kernel::read(&read(made.as_path()).expect("BTF")).expect("a kernel")
    }

    fn best<T>(
        kernel: &Kernel,
        forced: Option<AttachMethod>,
        attach: impl FnMut(Plan) -> Result<T, Error>,
    ) -> Result<(T, Attachment), Error> {
        attach_best(&kernel.third, kernel.combinations(Companions::Any, true), forced, attach)
    }

    fn refuse(_: Plan) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Load, "cannot load the programs").with_detail("\n    at length"))
    }

    #[test]
    fn the_next_candidate_is_tried_when_one_is_refused() {
        let mut tried = Vec::new();
        let (_, attachment) = best(&kernel_of(None), None, |plan| {
            tried.push(plan.combination.to_string());
            if plan.combination.method == AttachMethod::Fexit { refuse(plan) } else { Ok(()) }
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
            format!("tp_err+fexit: {absent}"),
            format!("tp_err: {absent}"),
            "fexit+sites: BTF has no tcp_fragment of six parameters".to_owned(),
            "fexit: cannot load the programs".to_owned(),
            "kretprobe: attached".to_owned(),
        ];
        assert_eq!(listed, expected);
        let refused = |candidate: &&Candidate| matches!(candidate.outcome, CandidateOutcome::Refused(_));
        let refused: Vec<_> = attachment.unavailable().filter(refused).map(Candidate::name).collect();
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
            tried.push(plan.combination.to_string());
            Ok(())
        });
        assert_eq!(forced.expect("kprobes").1.unavailable().count(), 0);
        assert_eq!(tried, ["kretprobe"]);
    }

    #[test]
    fn without_the_kernels_own_btf_raw_tracepoints_are_used() {
        let missing = || Err("cannot open /sys/kernel/btf/vmlinux".to_owned());
        let reason = "requires the kernel's own BTF: cannot open /sys/kernel/btf/vmlinux";
        let made = Made::object(&format!("{}{FUNCTIONS}{SYNACK}", kernel(Some("int"))));
        let of = |own| {
            let kernel = Kernel::read(&read(made.as_path()).expect("BTF")).expect("a kernel");
            kernel.in_file(made.as_path(), own).expect("types")
        };
        let open = |kernel: &Kernel| {
            let mut raw = None;
            let opened = best(kernel, None, |plan| {
                raw = Some(plan.raw_tracepoints);
                assert!(plan.exit.is_none(), "the ids of a file may not be those of the kernel");
                Ok(())
            });
            (opened.expect("an attach method").1, raw)
        };
        let (attachment, raw) = open(&of(missing()));
        assert_eq!((attachment.to_string(), raw), ("source=tp_err".to_owned(), Some(true)));
        let refused: Vec<_> = attachment.unavailable().filter(|of| of.name() == "tp_err+fexit").collect();
        assert_eq!(refused.first().and_then(|of| of.reason()), Some(reason));
        let (attachment, raw) = open(&of(Ok(())));
        assert_eq!((attachment.companion, raw), (Some(AttachMethod::Fexit), Some(false)));

        let error = best(&of(missing()), Some(AttachMethod::Fexit), |_| Ok(())).expect_err("fexit");
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn if_all_are_refused_the_error_is_of_the_best() {
        let made = Made::object(&format!("{}{FUNCTIONS}{FRAGMENT}", kernel(Some("int"))));
        let full = Kernel::read(&read(made.as_path()).expect("BTF")).expect("a kernel");
        let mut refused = 0;
        let error = best(&full, None, |plan| -> Result<(), Error> {
            refused += 1;
            Err(Error::new(ErrorKind::Load, format!("no {}", plan.combination)))
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
        let better: Vec<_> = attachment.unavailable().map(Candidate::name).collect();
        assert_eq!(better, ["tp_enum+fexit+sites"]);
        assert!(attachment.observes_err() && attachment.locates_nomem);
        let alone =
            best(&kernel, None, |plan| if plan.combination.companion.is_some() { refuse(plan) } else { Ok(()) });
        let (_, alone) = alone.expect("the enum alone");
        assert!(alone.observes_failures() && !alone.observes_err());
        assert_eq!(alone.unavailable().count(), 3);

        let unaccompanied = attach_best(&kernel.third, kernel.combinations(Companions::None, true), None, |_| Ok(()));
        let (_, unaccompanied) = unaccompanied.expect("the enum alone");
        assert_eq!(unaccompanied.companion, None);
        assert!(
            unaccompanied.unavailable().all(|over| over.reason() == Some("excluded by the configuration")),
            "{unaccompanied:?}"
        );
    }
}
