// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF maps in the memory of this process. Access requires neither system calls nor capabilities.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::Error;

const WORD: usize = size_of::<u64>();

/// A mapped array map (`BPF_F_MMAPABLE`), in words of eight bytes.
pub(crate) struct Words {
    at: *mut c_void,
    len: usize,
}

// SAFETY: the mapping lives until drop and is only accessed by atomics.
#[allow(unsafe_code)]
unsafe impl Send for Words {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Words {}

impl Words {
    /// Maps the first `len` words for reading.
    pub(crate) fn map(fd: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        Self::map_as(fd, len, ProtFlags::READ)
    }

    /// Maps the first `len` words.
    #[allow(unsafe_code)]
    fn map_as(fd: BorrowedFd<'_>, len: usize, protection: ProtFlags) -> Result<Self, Error> {
        // SAFETY: the kernel chooses a free address, so the mapping does not replace other memory.
        let mapping = unsafe { mmap(ptr::null_mut(), len * WORD, protection, MapFlags::SHARED, fd, 0) };
        match mapping {
            Ok(at) => Ok(Self { at, len }),
            Err(errno) => Err(Error::system("cannot mmap a BPF map", errno)),
        }
    }

    #[allow(unsafe_code)]
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.len);
        // SAFETY: the word is in the mapping, which is page-aligned and outlives the reference.
        // The kernel accesses it by whole aligned words only.
        unsafe { AtomicU64::from_ptr(self.at.cast::<u64>().add(index)) }
    }

    pub(crate) fn load(&self, index: usize) -> u64 {
        // Only relaxed loads may access read-only memory (documentation of `std::sync::atomic`).
        // With the fence it is an acquire load.
        let value = self.word(index).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }
}

impl Drop for Words {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: `map_as` created the mapping, and nothing borrows from it.
        let unmapped = unsafe { munmap(self.at, self.len * WORD) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A mapped array map that can be written.
pub(crate) struct WritableWords(Words);

impl WritableWords {
    pub(crate) fn map(fd: BorrowedFd<'_>, len: usize) -> Result<Self, Error> {
        Words::map_as(fd, len, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    pub(crate) fn load(&self, index: usize) -> u64 {
        self.0.load(index)
    }

    pub(crate) fn store(&self, index: usize, value: u64) {
        self.0.word(index).store(value, Ordering::SeqCst);
    }
}
