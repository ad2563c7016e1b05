// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults injected into the kernel for one socket: `tests/lab/bpf/faults.bpf.c`.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use libbpf_rs::{Link, Object, ObjectBuilder, PrintLevel, set_print};
use socket2::SockRef;

use crate::{Context, Error, Result};

/// The programs, in a section with the alignment that libbpf requires.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faults.bpf.o"));

/// `FAULT_MARK`.
const MARK: u32 = 0x7273_0000;

/// The fault for the attempts of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Injected {
    /// Memory allocations fail during the attempt.
    NoMemory = 1,
    /// The segment's headroom is too large, and the allocation of a copy fails.
    NoCopy = 2,
    /// The segment ends before the acknowledged sequence number.
    EndSeq = 3,
    /// The attempt is canceled for a reason that no table contains.
    Cancel = 4,
}

struct Attached {
    _object: Object,
    _links: Vec<Link>,
}

/// Attaches the programs once for the process. They act only on sockets that have their mark.
///
/// # Errors
/// Returns an error if the kernel does not allow its functions to be overridden, or if the hook
/// does not exist. A kernel of `tests/kernels/patches` is required.
pub fn attach() -> Result<()> {
    static ATTACHED: OnceLock<std::result::Result<Attached, String>> = OnceLock::new();
    let attached = ATTACHED.get_or_init(|| {
        let printer = set_print(Some((PrintLevel::Warn, |_, _| {})));
        let attached = load().map_err(|error| error.to_string());
        set_print(printer);
        attached
    });
    attached.as_ref().map(drop).map_err(|error| Error::new(error.clone()))
}

fn load() -> Result<Attached> {
    let object = ObjectBuilder::default().open_memory(OBJECT).and_then(libbpf_rs::OpenObject::load);
    let object = object.context("cannot load the fault injection programs")?;
    let links = object.progs_mut().map(|program| program.attach()).collect::<std::result::Result<_, _>>();
    Ok(Attached { _links: links.context("cannot attach the fault injection programs")?, _object: object })
}

/// Injects this fault into all further attempts of the socket.
///
/// # Errors
/// Returns an error if the socket cannot be marked, and the errors of [`attach`].
pub fn inject(socket: &impl AsFd, what: Injected) -> Result<()> {
    attach()?;
    SockRef::from(socket).set_mark(MARK | what as u32).context("cannot mark a socket")
}
