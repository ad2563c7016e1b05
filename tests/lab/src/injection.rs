// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults inside the kernel, for one socket: `tests/lab/bpf/faults.bpf.c`.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use libbpf_rs::{Link, Object, ObjectBuilder, PrintLevel, set_print};
use socket2::SockRef;

use crate::{Context, Error, Result};

/// The programs, in a section that is aligned as libbpf reads it.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/faults.bpf.o"));

/// `FAULT_MARK`.
const MARK: u32 = 0x7273_0000;

/// What shall befall the attempts of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Injected {
    /// Nothing is allocated while one is made.
    NoMemory = 1,
    /// The segment's headroom is too large, and there is no memory for a copy.
    NoCopy = 2,
    /// The segment ends before what is acknowledged.
    EndSeq = 3,
    /// It is given up, for a reason that no table has.
    Cancel = 4,
}

struct Attached {
    _object: Object,
    _links: Vec<Link>,
}

/// Attaches the programs, once for the whole process: they do nothing but to sockets with a mark of theirs.
///
/// # Errors
/// Where the kernel does not let its functions be overridden, or lacks the hook: it takes a kernel of tests/kernel.
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
    let object = object.context("cannot load the faults")?;
    let links = object.progs_mut().map(|program| program.attach()).collect::<std::result::Result<_, _>>();
    Ok(Attached { _links: links.context("cannot attach the faults")?, _object: object })
}

/// Has this befall the attempts that the socket makes from now on.
///
/// # Errors
/// When the socket cannot be marked, or as [`attach`].
pub fn inject(socket: &impl AsFd, what: Injected) -> Result<()> {
    attach()?;
    SockRef::from(socket).set_mark(MARK | what as u32).context("cannot mark a socket")
}
