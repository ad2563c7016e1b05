// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP peer in user space, on a TUN device or a replacement for one. The test decides on every
//! segment that it sends, and when.
//!
//! The kernel processes a written packet before the write returns, so one thread can drive both
//! ends: the socket sends, the peer reads the segment and answers, and the answer is in effect. If
//! a link replaces TUN this usually holds, but a kernel that is busy with packets may defer the
//! processing to another thread.

mod crowd;
mod device;
mod icmp;
mod link;
mod peer;
mod segment;

pub use crowd::Crowd;
pub(crate) use device::tun_is_there;
pub use peer::{Path, Peer, Reply};
pub use segment::Segment;
