// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel side, loaded and attached. The only module that knows libbpf.

mod btf;
#[cfg(not(retrans_docs_only))]
mod layout;
#[cfg_attr(retrans_docs_only, path = "object_docs.rs")]
mod object;
mod privilege;
mod quiet;

/// What libbpf-cargo generates from `bpf/retrans.bpf.c`.
#[cfg(not(retrans_docs_only))]
#[allow(unsafe_code, unreachable_pub, clippy::all, clippy::undocumented_unsafe_blocks)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/retrans.skel.rs"));
}

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::RingBuffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use self::btf::{ThirdArgument, VMLINUX, enums, enums_of_object, read as read_btf, third_argument};
use self::object::Object;
pub(crate) use self::object::object_bytes;
use crate::AttachSource;
use crate::counters::{StatsReader, add_one};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::filter::KernelFilter;
use crate::wire::{self, WireError};

/// What the ring's callback leaves, in the order of the ring.
type Inbox = Arc<Mutex<Vec<Result<Event, WireError>>>>;

/// The programs, attached. Dropping it detaches them.
pub(crate) struct Source {
    ring: RingBuffer<'static>,
    inbox: Inbox,
    _object: Object,
    pub(crate) chosen: AttachSource,
    pub(crate) why: String,
    pub(crate) stats: StatsReader,
}

/// Picks the best source that the kernel has, loads and attaches it; `epoch` is what takes `CLOCK_BOOTTIME` to the
/// epoch, in nanoseconds. On an error nothing of it is left.
pub(crate) fn open(filter: &KernelFilter, ring_size: u32, epoch: u64) -> Result<Source, Error> {
    privilege::check()?;
    let choice = choose(Path::new(VMLINUX))?;
    let mut object = Object::load(&choice, filter, ring_size)?;

    let inbox = Inbox::default();
    let write = Arc::clone(&inbox);
    // A panic in here would have to cross libbpf's C frames, and aborts: decoding has none, users are called elsewhere.
    let ring = object.ring(move |bytes| lock(&write).push(wire::decode(bytes, epoch)))?;
    let stats = StatsReader::new(object.counters()?, object.programs()?);
    object.attach()?;
    Ok(Source { ring, inbox, _object: object, chosen: choice.source, why: choice.why, stats })
}

fn lock(inbox: &Inbox) -> MutexGuard<'_, Vec<Result<Event, WireError>>> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a kernel's BTF admits.
#[derive(Debug)]
struct Choice {
    source: AttachSource,
    /// Why none better.
    why: String,
    has_cookie_helper: bool,
}

/// The best source that a BTF admits.
fn choose(vmlinux: &Path) -> Result<Choice, Error> {
    let btf = read_btf(vmlinux)?;
    btf::tracepoint(&btf, "tcp_retransmit_synack")?;
    let (source, why) = match third_argument(&btf)? {
        ThirdArgument::Err => (AttachSource::TpErr, "the tracepoint's third argument is int err"),
        ThirdArgument::Absent => (
            AttachSource::TpSuccess,
            "the tracepoint has no third argument (Linux before 6.17), so failures are unobservable",
        ),
        ThirdArgument::Enum(name) => {
            return Err(unsupported(&format!("enum {name}, whose numbers are not those of an errno")));
        }
        ThirdArgument::Other(what) => return Err(unsupported(&what)),
    };
    Ok(Choice { source, why: why.to_owned(), has_cookie_helper: btf::has_cookie_helper(&btf) })
}

fn unsupported(what: &str) -> Error {
    let message = format!(
        "the third argument of the tracepoint tcp_retransmit_skb is {what}; this version reads `int err` or none, and \
         would misread it"
    );
    Error::new(ErrorKind::UnsupportedTracepoint, message)
}

impl Source {
    /// Reads up to `most` records into `events` and counts those that fail their checks. Does not block.
    pub(crate) fn read(&self, most: usize, events: &mut VecDeque<Event>) -> Result<(), Error> {
        let read = self.ring.consume_raw_n(most);
        if read < 0 {
            let errno = std::io::Error::from_raw_os_error(-read);
            return Err(Error::new(ErrorKind::System, "cannot read the ring").caused_by(errno));
        }
        for event in lock(&self.inbox).drain(..) {
            match event {
                Ok(event) => events.push_back(event),
                Err(_) => add_one(&self.stats.user().dropped),
            }
        }
        Ok(())
    }

    /// Whether there are records to read.
    pub(crate) fn is_readable(&self) -> bool {
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Readable while there are records.
    #[allow(unsafe_code)]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, kernel};

    #[test]
    fn a_kernel_without_btf_is_told_so() {
        let error = choose(Path::new("/nonexistent/btf")).expect_err("there is no such file");
        assert_eq!(error.kind(), ErrorKind::NoBtf);
        let text = error.to_string();
        assert!(text.contains("/nonexistent/btf") && text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");
    }

    #[test]
    fn a_kernel_without_the_tracepoint_is_told_so() {
        let made = Made::object("volatile int one;");
        let error = choose(made.as_path()).expect_err("there is no tracepoint in it");
        assert_eq!(error.kind(), ErrorKind::NoTracepoint);
        assert!(error.to_string().contains("tcp:tcp_retransmit_"), "{error}");
    }

    #[test]
    fn the_third_argument_decides() {
        let choose = |third| choose(Made::object(&kernel(third)).as_path());
        let Choice { source, why, .. } = choose(Some("int")).expect("a source");
        assert_eq!((source, source.observes_failures()), (AttachSource::TpErr, true), "{why}");
        let Choice { source, why, .. } = choose(None).expect("a source");
        assert_eq!((source, source.observes_failures()), (AttachSource::TpSuccess, false), "{why}");

        // Its 0 is a failure, and `int err`'s 0 is success: never one for the other.
        let error = choose(Some("enum tcp_retransmit_quit_reason")).expect_err("not read yet");
        assert_eq!(error.kind(), ErrorKind::UnsupportedTracepoint);
        assert!(error.to_string().contains("enum tcp_retransmit_quit_reason"), "{error}");
        assert_eq!(choose(Some("void *")).expect_err("no such").kind(), ErrorKind::UnsupportedTracepoint);
    }

    #[test]
    fn the_cookie_helper_is_used_where_btf_has_it() {
        let choose = |source: &str| choose(Made::object(source).as_path()).expect("a source");
        // Linux 5.10 has the ones of other program types only.
        let old = format!("{} long bpf_get_socket_cookie_sock(long r1) {{ return r1; }}", kernel(None));
        assert!(!choose(&old).has_cookie_helper);
        let new = format!("{old} long bpf_get_socket_ptr_cookie(long r1) {{ return r1; }}");
        assert!(choose(&new).has_cookie_helper);
    }
}
