// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replaces `object.rs` where documentation is built without clang, and there is no object to load.
//! [`Object`] has no value, so its methods are unreachable.
//!
//! # Design
//!
//! `DOCS_RS=1` builds the documentation without clang. This is the only file with a replacement,
//! because only `object.rs` requires the compiled object.

use std::os::fd::{BorrowedFd, OwnedFd};

use libbpf_rs::{MapHandle, RingBuffer};

use super::config::{Config, Wakeup};
use super::plan::Plan;
use super::socket_set::SocketSet;
use crate::error::{Error, ErrorKind};
use crate::stats::reader::KernelCounters;
use crate::sys::mmap::WritableWords;

pub(super) enum Object {}

#[cfg(feature = "check")]
pub(crate) fn object_bytes() -> &'static [u8] {
    &[]
}

impl Object {
    pub(super) fn load(_: &Plan, _: &Config) -> Result<Self, Error> {
        Err(Error::new(
            ErrorKind::Load,
            "this build contains no BPF programs, since DOCS_RS was set: it is for documentation only",
        ))
    }

    pub(super) fn detach(&mut self) {
        match *self {}
    }

    pub(super) fn attach(&mut self) -> Result<(), Error> {
        match *self {}
    }

    pub(super) fn ring(&self, _: impl Fn(&[u8]) + Send + 'static) -> Result<RingBuffer<'static>, Error> {
        match *self {}
    }

    pub(super) fn ring_maps(&self) -> [BorrowedFd<'_>; 2] {
        match *self {}
    }

    pub(super) fn ring_fd(&self) -> Result<OwnedFd, Error> {
        match *self {}
    }

    #[cfg(feature = "test-util")]
    pub(super) fn wakeup(&self) -> Wakeup {
        match *self {}
    }

    pub(super) fn reader(&self) -> Result<WritableWords, Error> {
        match *self {}
    }

    pub(super) fn counters(&self) -> Result<KernelCounters, Error> {
        match *self {}
    }

    pub(super) fn own_sockets(&self) -> Result<SocketSet, Error> {
        match *self {}
    }

    pub(super) fn owners(&self) -> Result<MapHandle, Error> {
        match *self {}
    }

    pub(super) fn essential(&self, _: &Plan) -> Result<Option<Vec<OwnedFd>>, Error> {
        match *self {}
    }
}
