// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probes whether fexit is allowed, with the smallest possible program. Otherwise a whole object
//! would be relocated and verified before the kernel refuses it.
//!
//! # Design
//!
//! A program of two instructions is loaded first. If the kernel refuses fexit, the refusal costs
//! one system call. A kernel that accepts it may still refuse the real programs, so these are tried
//! in full.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr;

use libbpf_rs::libbpf_sys::{
    BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, bpf_insn, bpf_prog_load,
    bpf_prog_load_opts,
};

/// Loads and unloads `return 0` for the exit of the function with this BTF id.
#[allow(unsafe_code)]
pub(super) fn fexit(function: u32) -> libbpf_rs::Result<()> {
    let instruction = |code: u32| bpf_insn { code: code as u8, ..Default::default() };
    let instructions = [instruction(BPF_ALU64 | BPF_MOV | BPF_K), instruction(BPF_JMP | BPF_EXIT)];
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        expected_attach_type: BPF_TRACE_FEXIT,
        attach_btf_id: function,
        ..Default::default()
    };
    // SAFETY: the licence ends with NUL, the name is optional, and the lengths of instructions and
    // options are correct. The kernel keeps no reference to them.
    let loaded = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_TRACING,
            ptr::null(),
            c"Dual BSD/GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as _,
            &mut options,
        )
    };
    if loaded < 0 {
        return Err(io::Error::from_raw_os_error(-loaded).into());
    }
    // SAFETY: the descriptor was just created, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(loaded) });
    Ok(())
}
