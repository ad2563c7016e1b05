// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mount namespace in which /sys is masked, as in some containers: errors name the file that
//! cannot be opened, and a stream opens with the kernel's BTF in another file.
//!
//! A mount namespace belongs to a thread here, so nothing must be unmounted.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, process, thread};

use nix::sched::{CloneFlags, unshare};
use retrans_lab::filters::demanding;
use retrans_lab::observe::{attachment, concerns, filter, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{
    Context, Discard, Family, Outcome, Pair, Refusal, Result, RouteFault, Scenario, ScenarioRun, TraceInstance,
    privilege,
};
use retrans_sdk::attach::{AttachMethod, Diagnosis, Support, Unobservable};
use retrans_sdk::stream::{Live, RateLimit};
use retrans_sdk::{Error, ErrorKind, Event, Stream, StreamBuilder};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

/// The results of a tracepoint and of function exits, and a SYN-ACK.
const OUTCOMES: [Outcome; 6] = [
    Outcome::Rto,
    Outcome::Fast,
    Outcome::Synack,
    Outcome::RouteFail(RouteFault::Prohibit),
    Outcome::Denied(Refusal::Drop),
    Outcome::XmitDrop(Discard::Qdisc),
];

/// Runs `work` on a thread in whose mount namespace an empty file system covers `path`.
fn masked<T: Send>(path: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let mask = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("cannot create a mount namespace")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context("cannot make the mounts private")?;
        mount("retrans-mask", path, "tmpfs", MountFlags::empty(), None).with_context(|| format!("cannot mask {path}"))
    };
    thread::scope(|scope| scope.spawn(|| mask().map(|()| work())).join().expect("no panic"))
}

/// A copy of the kernel's BTF, removed on drop.
struct Copied(PathBuf);

impl Copied {
    fn new() -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let copied = Self(env::temp_dir().join(format!("retrans-btf-{}-{count}", process::id())));
        fs::copy(VMLINUX, &copied.0).context("cannot copy the kernel's BTF")?;
        Ok(copied)
    }

    fn builder(&self) -> StreamBuilder {
        Stream::builder().btf_path(&self.0)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_error_names_the_file_and_the_possible_causes() -> Result<()> {
    privilege::check()?;
    for path in ["/sys", "/sys/kernel", "/sys/kernel/btf"] {
        let (error, diagnosis) = masked(path, || (Stream::open().expect_err("no BTF"), Diagnosis::run()))?;
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoBtf, Some(ENOENT)), "{path}");
        let text = error.to_string();
        let begin = format!("cannot open {VMLINUX}: No such file or directory (os error 2); ");
        assert!(text.starts_with(&begin), "{path}: {text}");
        for cause in ["/sys is not mounted or is masked", "CONFIG_DEBUG_INFO_BTF=y", "StreamBuilder::btf_path"] {
            assert!(text.contains(cause), "{path}: {text}");
        }
        assert_eq!(diagnosis.btf, Support::Unavailable { reason: text.clone() });
        assert_eq!(diagnosis.attachment.expect_err("no BTF"), text);
    }
    let error = masked("/sys/kernel/btf", || -> Result<Error> {
        fs::write(VMLINUX, "").context("cannot write a file")?;
        fs::set_permissions(VMLINUX, fs::Permissions::from_mode(0o000)).context("cannot change a mode")?;
        // Root may read every file with these.
        let mut sets = capabilities(None).context("cannot read the capabilities")?;
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).context("cannot drop capabilities")?;
        Ok(Stream::open().expect_err("not readable"))
    })??;
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoBtf, Some(EACCES)));
    let text = error.to_string();
    assert!(text.contains("Permission denied (os error 13); ") && text.contains("a security module"), "{text}");
    assert!(!text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");

    let error = masked("/sys/kernel/btf", || File::create(VMLINUX).map(|_| Stream::open().expect_err("empty")))?;
    let error = error.context("cannot create a file")?;
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot open {VMLINUX}: the file is empty; ")), "{text}");
    assert!(text.contains("masked") && text.contains("StreamBuilder::btf_path"), "{text}");
    let error = Stream::builder().btf_path("/nonexistent/btf").open().expect_err("no file");
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NoBtf, Some(ENOENT)), "{error}");
    Ok(())
}

/// The attach methods that do not require the kernel's own BTF report the same attempts.
#[test]
#[ignore = "live: needs root, run by make test"]
fn without_the_kernels_own_btf_a_file_replaces_it() -> Result<()> {
    privilege::check()?;
    let btf = Copied::new()?;
    assert!(Path::new(VMLINUX).exists());
    let open = |method: Option<AttachMethod>| {
        let builder = method.into_iter().fold(btf.builder().locate_nomem(), StreamBuilder::attach_method);
        masked("/sys/kernel/btf", || builder.open())
    };
    let error = open(Some(AttachMethod::Fexit))?.expect_err("fexit");
    assert_eq!(error.kind(), ErrorKind::MethodUnavailable);
    let reason = format!("requires the kernel's own BTF: cannot open {VMLINUX}");
    assert!(error.to_string().contains(&reason), "{error}");

    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| Some(entry.variant)).chain([None]) {
        let mut stream = match open(method)? {
            Err(error) => {
                // The verifier does not reject the programs.
                let text = error.to_string();
                assert!(!text.contains("BEGIN PROG LOAD LOG"), "{text}");
                assert_eq!(error.kind(), ErrorKind::MethodUnavailable, "{text}");
                continue;
            }
            Ok(stream) => stream,
        };
        opened += 1;
        let (with, method) = (attachment(&stream).clone(), attachment(&stream).method);
        assert_ne!(with.companion, Some(AttachMethod::Fexit), "{with}");
        let synack_failures = with.unobservable().any(|what| what == Unobservable::SynackFailures);
        assert_eq!(synack_failures, method != AttachMethod::Kretprobe && with.companion.is_none(), "{with}");
        let all: Vec<_> = OUTCOMES.iter().enumerate().map(|(at, outcome)| (*outcome, Family::ALL[at % 3])).collect();
        for run in ScenarioRun::run_all(&mut stream, &mut TraceInstance::new()?, &all, |_| {})? {
            run.verify_undisturbed().with_context(|| format!("from {with}"))?;
        }
    }
    assert!(opened > 1, "no attach method is available");

    let stream = masked("/sys/kernel/btf", || btf.builder().resolve_owners().open())?.context("no stream")?;
    let hooks = stream.live().and_then(Live::owner_hooks).expect("requested");
    for hook in [&hooks.connect, &hooks.accept, &hooks.scan] {
        let Support::Unavailable { reason } = hook else { panic!("{hooks:?}") };
        assert!(reason.contains("the kernel's own BTF") || reason.contains("before Linux 5.12"), "{reason}");
    }
    Ok(())
}

/// The verifier accepts the programs that require no BTF of the kernel with every demanding filter.
/// The kprobes, which need half a minute in a guest, are the same with BTF (`filter_cost`).
#[test]
#[ignore = "live: needs root, run by make test"]
fn demanding_filters_load_without_the_kernels_own_btf() -> Result<()> {
    privilege::check()?;
    let btf = Copied::new()?;
    let (mut loaded, all) = (0, demanding());
    for entry in AttachMethod::ALL {
        let filters = if entry.variant == AttachMethod::Kretprobe { &all[..1] } else { &all[..] };
        for text in filters {
            let builder = btf.builder().attach_method(entry.variant).filter(filter(text)?);
            let builder = builder.rate_limit(RateLimit { per_second: 10, burst: 10 });
            match masked("/sys/kernel/btf", || builder.open())? {
                Err(error) if error.kind() == ErrorKind::MethodUnavailable => {
                    let message = error.to_string();
                    assert!(!message.contains("BEGIN PROG LOAD LOG"), "{} with {text}: {message}", entry.variant);
                    break;
                }
                stream => stream.map(drop).with_context(|| format!("{} with {text}", entry.variant))?,
            }
            loaded += 1;
        }
    }
    assert!(loaded > 0, "no attach method is available");
    Ok(())
}

/// With all of /sys masked the tracepoints remain, and the reasons name the files that are missing.
#[test]
#[ignore = "live: needs root, run by make test"]
fn with_all_of_sys_masked_the_tracepoints_remain() -> Result<()> {
    privilege::check()?;
    let btf = Copied::new()?;
    let pair = Pair::new()?;
    let mut stream = masked("/sys", || btf.builder().open())?.context("cannot open a stream")?;
    let attachment = attachment(&stream);
    assert!(matches!(
        attachment.method,
        AttachMethod::TpEnum | AttachMethod::TpErr | AttachMethod::TpSuccess | AttachMethod::Kretprobe
    ));
    let error = masked("/sys", || btf.builder().attach_method(AttachMethod::Kretprobe).open())?.err();
    if let Some(error) = error {
        assert!(error.to_string().contains("/sys/bus/event_source/devices/kprobe/type"), "{error}");
    }
    let mut scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    scenario.start()?;
    until(&mut stream, PATIENCE, |events| events.iter().any(|event: &Event| concerns(&subject, event)))?;
    scenario.finish()?;
    Ok(())
}

/// A file in addition to the kernel's own BTF changes nothing.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_file_in_addition_to_the_kernels_own_btf_changes_nothing() -> Result<()> {
    privilege::check()?;
    let btf = Copied::new()?;
    let (own, file) = (Stream::builder().locate_nomem().open(), btf.builder().locate_nomem().open());
    let (own, file) = (own.context("cannot open a stream")?, file.context("cannot open a stream with a file")?);
    assert_eq!(attachment(&own).to_string(), attachment(&file).to_string());
    assert_eq!(attachment(&own).locates_nomem, attachment(&file).locates_nomem);
    let diagnosis = Diagnosis::run_with_btf(&btf.0);
    assert_eq!((&diagnosis.btf, diagnosis.coverage()), (&Support::Available, Diagnosis::run().coverage()));
    Ok(())
}
