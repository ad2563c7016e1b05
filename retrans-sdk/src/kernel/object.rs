// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generated skeleton: opened, configured, loaded, attached.
//!
//! # Design
//!
//! The generated `RetransSkel` borrows from an `OpenObject`. `self_cell` keeps both in one cell, so
//! the handle has no lifetime, is `Send`, and needs no unsafe code of this crate.
//!
//! The kernel keeps the RTO in jiffies, and BTF does not contain CONFIG_HZ. The resolution of
//! `CLOCK_MONOTONIC_COARSE` is one tick, so it converts `rto_us`.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, OpenObject, ProgramMut, RingBuffer, RingBufferBuilder};
use rustix::time::{ClockId, clock_getres};
use self_cell::{MutBorrow, self_cell};

use super::btf::indent;
use super::config::{Config, Wakeup};
use super::libbpf_error::LibbpfError;
use super::libbpf_log::capture_log;
use super::plan::{Plan, ThirdArgMode};
use super::probe;
use super::program::Program;
use super::skel::{RetransSkel, RetransSkelBuilder, types};
use super::socket_owners;
use super::socket_set::SocketSet;
use crate::error::{Error, ErrorKind};
use crate::event::field_set::FieldSet;
use crate::event::record::{DEFAULT_LEN, OWNER_LEN};
use crate::filter::{KernelFilter, RangeTest, operand};
use crate::kernel::attach_method::AttachMethod;
use crate::rate_limit::TokenBucket;
use crate::stats::groups::{GroupBy, Grouping, PrefixMasks};
use crate::stats::reader::KernelCounters;
use crate::sys::cgroups::{CgroupMode, Cgroups};
use crate::sys::mmap::WritableWords;

self_cell!(
    /// The skeleton and the object that it borrows from: a handle without a lifetime.
    struct Skeleton {
        owner: MutBorrow<MaybeUninit<OpenObject>>,
        #[not_covariant]
        dependent: RetransSkel,
    }
);

/// The loaded BPF programs, attached by [`attach`](Self::attach). Dropping it detaches and unloads
/// them.
pub(super) struct Object {
    /// First, so that links are dropped before the programs.
    links: Vec<Link>,
    programs: Vec<Program>,
    #[cfg_attr(not(feature = "test-util"), expect(dead_code, reason = "for the harness"))]
    wakeup: Wakeup,
    /// True if attempts that pass the filter are counted separately.
    counts_passed: bool,
    /// The key by which attempts are counted in groups.
    grouping: Option<Grouping>,
    skeleton: Skeleton,
}

/// Returns the built object, which the skeleton embeds as well.
#[cfg(feature = "check")]
pub(crate) fn object_bytes() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/retrans.bpf.o"))
}

type Step<T> = Result<T, (&'static str, LibbpfError)>;

fn step<T>(what: &'static str, result: libbpf_rs::Result<T>) -> Step<T> {
    result.map_err(|error| (what, LibbpfError::new(error)))
}

/// Runs a step of loading, and adds the log of libbpf to its error.
fn with_log<T>(work: impl FnOnce() -> Step<T>) -> Result<T, Error> {
    let (result, log) = capture_log(work);
    result.map_err(|(what, error)| load_error(what, error, &log))
}

impl Object {
    /// Loads the BPF programs of a plan.
    pub(super) fn load(plan: &Plan, config: &Config) -> Result<Self, Error> {
        let Config { filter, limit, summed_netns, grouping, ring, owners, drops, verdicts, .. } = config;
        let stores_age = ring.is_some_and(|ring| ring.fields.contains("age_us"));
        let hooks = verdicts.then(|| plan.verdict_hooks());
        let tracks = hooks.as_ref().is_some_and(|hooks| hooks.ended.is_available());
        let mut programs = Program::of(plan, *drops, stores_age, hooks.as_ref());
        if config.without_entries {
            programs.retain(|program| !program.is_entry());
        }
        let counts_passed = !filter.tests.is_empty();
        // If the mode is unknown, the root may be shared, so it is hidden.
        let hides_root_cgroup = !Cgroups::read().is_ok_and(|cgroups| cgroups.mode() == CgroupMode::V2);
        let cpus = cpus()? as u32;
        if let Some(exit) = plan.exit {
            with_log(|| step("load the programs", probe::fexit(exit)))?;
        }
        let mut wakeup = Wakeup::default();
        let skeleton = with_log(|| {
            Skeleton::try_new(MutBorrow::new(MaybeUninit::uninit()), |object| {
                let mut builder = RetransSkelBuilder::default();
                if let Some(types) = plan.types() {
                    step("set the kernel's BTF", builder.obj_builder.btf_custom_path(types).map(|_| ()))?;
                }
                let open = builder.open(object.borrow_mut());
                let mut open = step("open the object", open)?;
                #[allow(clippy::expect_used, reason = "an opened skeleton has its read-only data")]
                let rodata = open.maps.rodata_data.as_mut().expect("read-only data");
                rodata.third_arg = match plan.tracepoint {
                    Some(ThirdArgMode::Err) => types::retrans_third_arg::RETRANS_THIRD_ARG_ERR,
                    Some(ThirdArgMode::Enum) => types::retrans_third_arg::RETRANS_THIRD_ARG_ENUM,
                    Some(ThirdArgMode::None) | None => types::retrans_third_arg::RETRANS_THIRD_ARG_NONE,
                };
                rodata.enumerators = plan.enumerators.results;
                rodata.has_unlisted = !plan.enumerators.unlisted.is_empty();
                rodata.unlisted_slots = plan.enumerators.unlisted_slots();
                rodata.with_exit = plan.combination.by_exit().is_some();
                rodata.enum_is_source = plan.combination.method == AttachMethod::TpEnum;
                rodata.with_entry = plan.entries;
                rodata.nomem_sites = plan.combination.sites;
                rodata.has_cookie_helper = plan.has_cookie_helper;
                rodata.has_drop_reason = plan.drop_names.is_some();
                rodata.with_owners = *owners;
                rodata.hides_root_cgroup = hides_root_cgroup;
                // The resolution of the coarse clock is one jiffy.
                rodata.tick_ns = clock_getres(ClockId::MonotonicCoarse).tv_nsec as u64;
                fill_filter(&mut rodata.filter, filter);
                if let Some(TokenBucket { interval, burst }) = *limit {
                    (rodata.limit_interval, rodata.limit_burst) = (interval, burst);
                }
                rodata.reconciled_netns = summed_netns.unwrap_or_default();
                rodata.cpus = cpus;
                if let Some(grouping) = grouping {
                    (rodata.group_by, rodata.group_masks) = group_constants(*grouping);
                }
                match ring {
                    Some(ring) => {
                        // Owners are looked up by cookie, and are stored after a full record.
                        let fields = if *owners { ring.fields | FieldSet::COOKIE } else { ring.fields };
                        rodata.record_fields = fields.bits();
                        // The length of a record without an owner is never that of one with an
                        // owner.
                        let least = if *owners { DEFAULT_LEN } else { 0 };
                        rodata.record_length = fields.record_length().max(least) as u32;
                        rodata.record_size = rodata.record_length + if *owners { OWNER_LEN as u32 } else { 0 };
                        wakeup = ring.wakeup(cpus);
                        (rodata.wakeup_bytes, rodata.wakeup_interval) = (wakeup.bytes, wakeup.interval);
                        step("set the size of the ring buffer", open.maps.rt_events.set_max_entries(ring.size))?;
                    }
                    None => {
                        rodata.output_mode = OUTPUT_COUNTERS;
                        step("disable the ring buffer", open.maps.rt_events.set_autocreate(false))?;
                    }
                }
                if tracks {
                    rodata.output_mode = OUTPUT_VERDICTS;
                    rodata.creates_cookies = plan.combination.by_exit() == Some(AttachMethod::Kretprobe);
                    step("set the size of a map", open.maps.rt_connections.set_max_entries(CONNECTIONS))?;
                }
                step("set the number of counters", open.maps.rt_counters.set_max_entries(cpus))?;
                if counts_passed {
                    step("set the number of counters", open.maps.rt_passed.set_max_entries(cpus))?;
                }
                if let Some(grouping) = grouping {
                    let step = |result| step("set the number of groups", result);
                    step(open.maps.rt_group_elements.set_max_entries(grouping.capacity))?;
                    step(open.maps.rt_free_groups.set_max_entries(grouping.capacity))?;
                    step(open.maps.rt_groups.set_max_entries(grouping.elements()))?;
                }
                // Unused maps keep one element: they count against RLIMIT_MEMLOCK on old kernels.
                if plan.entries {
                    let entries = lru_entries(IN_FLIGHT, cpus);
                    step("set the size of a map", open.maps.rt_in_flight.set_max_entries(entries))?;
                }
                if plan.combination.by_exit() == Some(AttachMethod::Kretprobe) {
                    let entries = lru_entries(IN_FLIGHT, cpus);
                    step("set the size of a map", open.maps.rt_kprobe_args.set_max_entries(entries))?;
                }
                if programs.iter().any(|program| program.stores_age()) {
                    let entries = lru_entries(IN_FLIGHT, cpus);
                    step("set the size of a map", open.maps.rt_last_sent.set_max_entries(entries))?;
                }
                let entries = lru_entries(REMEMBERED, cpus);
                step("set the size of a map", open.maps.rt_loss_memory.set_max_entries(entries))?;
                if *drops {
                    let entries = lru_entries(IN_FLIGHT, cpus);
                    step("set the size of a map", open.maps.rt_drops.set_max_entries(entries))?;
                }
                if *owners {
                    step("set the size of a map", open.maps.rt_owners.set_max_entries(socket_owners::CAPACITY))?;
                }
                if filter.uses(operand::RETRANS_FIELD_OWN_SOCKET) {
                    step("set the size of a map", open.maps.rt_own_sockets.set_max_entries(SocketSet::CAPACITY))?;
                }
                for mut program in open.open_object_mut().progs_mut() {
                    let wanted = programs.iter().any(|wanted| program.name() == wanted.name());
                    program.set_autoload(wanted);
                }
                let loaded = step("load the programs", open.load())?;
                // The first element is not for a key.
                for element in 1..grouping.map_or(1, Grouping::elements) {
                    let free = loaded.maps.rt_free_groups.update(&[], &element.to_ne_bytes(), MapFlags::ANY);
                    step("fill a map", free)?;
                }
                Ok(loaded)
            })
        })?;
        Ok(Self { links: Vec::new(), programs, wakeup, counts_passed, grouping: *grouping, skeleton })
    }

    pub(super) fn attach(&mut self) -> Result<(), Error> {
        let Self { links, programs, skeleton, .. } = self;
        // One by one, since the skeleton's attach leaks the first link when the second fails.
        skeleton.with_dependent_mut(|_, skeleton| {
            for wanted in programs {
                let program = wanted.in_skeleton(skeleton);
                let attach = || match (wanted.kprobe(), wanted.raw_tracepoint()) {
                    (Some((function, at_return)), _) => program.attach_kprobe(at_return, function),
                    (None, Some(tracepoint)) => program.attach_raw_tracepoint(tracepoint),
                    (None, None) => program.attach_trace(),
                };
                let link = with_log(|| step(wanted.attaching(), attach()));
                let link = link.map_err(|error| if wanted.kprobe().is_some() { kprobe_error(error) } else { error })?;
                // Detached in reverse order, so that no entry is without its exit, and no attempt
                // is reported by the tracepoint alone.
                links.insert(0, link);
            }
            Ok(())
        })
    }

    /// Detaches the programs, which remain loaded.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// Returns a reader of the ring buffer that passes the bytes of each record to `callback`.
    pub(super) fn ring(&self, callback: impl Fn(&[u8]) + Send + 'static) -> Result<RingBuffer<'static>, Error> {
        self.skeleton.with_dependent(|_, skeleton| {
            with_log(|| {
                let mut ring = RingBufferBuilder::new();
                let added = ring.add(&skeleton.maps.rt_events, move |bytes| {
                    callback(bytes);
                    0
                });
                step("read the ring buffer", added.map(|_| ()))?;
                step("read the ring buffer", ring.build())
            })
        })
    }

    /// Returns the wake-up settings.
    #[cfg(feature = "test-util")]
    pub(super) fn wakeup(&self) -> Wakeup {
        self.wakeup
    }

    /// Returns the ring buffer, and the state that its reader shares with the programs.
    pub(super) fn ring_maps(&self) -> [BorrowedFd<'_>; 2] {
        self.skeleton.with_dependent(|_, skeleton| [skeleton.maps.rt_events.as_fd(), skeleton.maps.rt_reader.as_fd()])
    }

    /// Returns a duplicate of the descriptor of the ring buffer.
    pub(super) fn ring_fd(&self) -> Result<OwnedFd, Error> {
        duplicate(self.ring_maps()[0])
    }

    /// Maps the state that the reader shares with the programs.
    pub(super) fn reader(&self) -> Result<WritableWords, Error> {
        WritableWords::map(self.ring_maps()[1], 2)
    }

    pub(super) fn counters(&self) -> Result<KernelCounters, Error> {
        let cpus = cpus()?;
        self.skeleton.with_dependent(|_, skeleton| {
            let passed = self.counts_passed.then(|| skeleton.maps.rt_passed.as_fd());
            let groups = self.grouping.map(|grouping| (skeleton.maps.rt_groups.as_fd(), grouping));
            KernelCounters::map(skeleton.maps.rt_counters.as_fd(), passed, groups, cpus)
        })
    }

    pub(super) fn own_sockets(&self) -> Result<SocketSet, Error> {
        let of = |skeleton: &RetransSkel<'_>| step("find a map", MapHandle::try_from(&skeleton.maps.rt_own_sockets));
        self.skeleton.with_dependent(|_, skeleton| with_log(|| of(skeleton))).map(SocketSet::new)
    }

    /// Returns the map of socket owners.
    pub(super) fn owners(&self) -> Result<MapHandle, Error> {
        let of = |skeleton: &RetransSkel<'_>| step("find a map", MapHandle::try_from(&skeleton.maps.rt_owners));
        self.skeleton.with_dependent(|_, skeleton| with_log(|| of(skeleton)))
    }

    /// Returns duplicates of the descriptors of the programs without which an attempt may not be
    /// observed. Returns `None` if the kernel does not count all skipped runs, as with kprobes.
    pub(super) fn essential(&self, plan: &Plan) -> Result<Option<Vec<OwnedFd>>, Error> {
        if plan.combination.by_exit() == Some(AttachMethod::Kretprobe) {
            return Ok(None);
        }
        let own = |program: &ProgramMut<'_>| duplicate(program.as_fd());
        let essential = self.programs.iter().filter(|program| program.is_essential(plan));
        self.skeleton
            .with_dependent(|_, skeleton| {
                essential.map(|program| own(program.in_skeleton(skeleton))).collect::<Result<Vec<_>, _>>()
            })
            .map(Some)
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    fd.try_clone_to_owned()
        .map_err(|error| Error::new(ErrorKind::System, "cannot duplicate a descriptor").caused_by(error))
}

/// Returns the number of possible CPUs, which the kernel reports in
/// /sys/devices/system/cpu/possible. Where /sys is masked, the kernel reports an upper bound in
/// /proc.
fn cpus() -> Result<usize, Error> {
    let (counted, log) = capture_log(|| libbpf_rs::num_possible_cpus().map_err(LibbpfError::new));
    counted.or_else(|error| {
        let bound = fs::read_to_string("/proc/self/status").ok().and_then(|status| cpu_bound(&status));
        bound.ok_or_else(|| {
            let message = format!(
                "cannot count the CPUs: neither /sys/devices/system/cpu/possible nor /proc/self/status can be read{}",
                indent(&log)
            );
            error.cause(Error::new(ErrorKind::System, message))
        })
    })
}

/// Returns the number of bits in the CPU mask of /proc/PID/status: the number of possible CPUs,
/// rounded up to the four bits of a digit.
fn cpu_bound(status: &str) -> Option<usize> {
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    Some(4 * mask.bytes().filter(u8::is_ascii_hexdigit).count()).filter(|bits| *bits > 0)
}

/// Adds the file that libbpf could not open to the error of attaching a kprobe. Without the file
/// libbpf uses tracefs, and its error names neither.
fn kprobe_error(error: Error) -> Error {
    const TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";
    match fs::metadata(TYPE) {
        Ok(_) => error,
        Err(missing) => error.within(&format!(
            "the kernel was built without CONFIG_KPROBE_EVENTS, or /sys is masked here, since {TYPE} cannot be read ({missing})"
        )),
    }
}

/// `OUTPUT_COUNTERS` and `OUTPUT_VERDICTS` of `bpf/output.bpf.h`.
const OUTPUT_COUNTERS: u8 = 1;
const OUTPUT_VERDICTS: u8 = 2;

/// The number of connections that are tracked for verdicts.
const CONNECTIONS: u32 = 16_384;

/// The number of attempts in flight that a map has room for.
const IN_FLIGHT: u32 = 1024;

/// The number of sockets in the state Loss whose last attempt is remembered.
const REMEMBERED: u32 = 4096;

/// Returns the size of an LRU map with room for `base` elements on a host with this number of CPUs.
/// Before d4adf1c9ee77 (Linux 6.16) each CPU reserves 128 free elements of such a map, and a small
/// map evicts elements that are in use. Each CPU adds twice that number, for the attempts that nest
/// on it. The number of CPUs is capped, because the map is allocated at once: with 1,024 CPUs it
/// occupies about 30 MB.
fn lru_entries(base: u32, cpus: u32) -> u32 {
    const PER_CPU: u32 = 256;
    base + PER_CPU * cpus.min(1024)
}

/// Returns the key by which attempts are counted, and the masks of its prefixes, for the programs.
fn group_constants(grouping: Grouping) -> (types::retrans_group_by, types::retrans_prefix_masks) {
    let by = match grouping.by {
        GroupBy::Cgroup => types::retrans_group_by::RETRANS_GROUP_BY_CGROUP,
        GroupBy::Netns => types::retrans_group_by::RETRANS_GROUP_BY_NETNS,
        GroupBy::LocalPort => types::retrans_group_by::RETRANS_GROUP_BY_LOCAL_PORT,
        GroupBy::RemotePort => types::retrans_group_by::RETRANS_GROUP_BY_REMOTE_PORT,
        GroupBy::RemotePrefix { .. } => types::retrans_group_by::RETRANS_GROUP_BY_REMOTE_PREFIX,
    };
    let PrefixMasks { inet, inet6_high, inet6_low } = grouping.masks();
    (by, types::retrans_prefix_masks { inet, inet6_high, inet6_low })
}

fn fill_filter(to: &mut types::retrans_filter, filter: &KernelFilter) {
    to.used = filter.tests.len() as u32;
    to.subtrees_used = filter.subtrees.len() as u32;
    to.own_socket_used = filter.uses(operand::RETRANS_FIELD_OWN_SOCKET).into();
    to.ts_used = filter.uses(operand::RETRANS_FIELD_TS).into();
    for (to, from) in to.subtrees.iter_mut().zip(&filter.subtrees) {
        *to = *from;
    }
    for (to, from) in to.tests.iter_mut().zip(&filter.tests) {
        let RangeTest { low, high, field, flags } = *from;
        *to = types::retrans_test { low, high, field, flags, ..Default::default() };
    }
}

/// Returns the error of a refused step, with the remedy if a privilege is missing.
fn load_error(what: &str, error: LibbpfError, log: &str) -> Error {
    const EPERM: i32 = 1;
    // The error kind of libbpf-rs does not distinguish EPERM from the verifier's EACCES.
    let (kind, hint) = if error.errno() == Some(EPERM) {
        // The capabilities are held, as `capabilities` has checked.
        (
            ErrorKind::MissingCapability,
            "; the capabilities are held, so they may belong to a user namespace, or kernel lockdown or a security \
             module forbids it, or (before Linux 5.11) RLIMIT_MEMLOCK is too low, which `ulimit -l unlimited` or \
             `LimitMEMLOCK=infinity` raises",
        )
    } else {
        (ErrorKind::Load, "")
    };
    error.cause(Error::new(kind, format!("cannot {what}"))).with_detail(hint.to_owned() + &indent(log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_adds_twice_the_elements_that_it_reserves() {
        assert_eq!(lru_entries(IN_FLIGHT, 1), 1280);
        for cpus in [2, 8, 9, 64, 512, 1024] {
            let reserved = 128 * cpus;
            assert!(lru_entries(IN_FLIGHT, cpus) >= 1024 + 2 * reserved, "{cpus}");
        }
        assert_eq!(lru_entries(IN_FLIGHT, u32::MAX), lru_entries(IN_FLIGHT, 1024));
    }

    #[test]
    fn the_cpu_mask_bounds_the_number_of_cpus() {
        assert_eq!(cpu_bound("Name:\tx\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n"), Some(4));
        assert_eq!(cpu_bound("Cpus_allowed:\t00000000,0000ffff\n"), Some(64));
        assert_eq!(cpu_bound("Cpus_allowed:\t\n"), None);
        assert_eq!(cpu_bound("Name:\tx\n"), None);
        // Not less than the count, which the array of counters must have room for.
        let status = fs::read_to_string("/proc/self/status").expect("/proc");
        let counted = libbpf_rs::num_possible_cpus().expect("/sys");
        let bound = cpu_bound(&status).expect("a mask");
        assert!((counted..counted + 4).contains(&bound), "{counted} {bound}");
    }

    #[test]
    fn a_missing_privilege_is_distinguished_from_a_verifier_error() {
        const EPERM: i32 = 1;
        const EACCES: i32 = 13;
        let refused = |errno| load_error("load the programs", LibbpfError::of_errno(errno), "");
        let error = refused(EPERM);
        assert_eq!(error.kind(), ErrorKind::MissingCapability);
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        assert_eq!(refused(EACCES).kind(), ErrorKind::Load);
    }
}
