// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP peer in user space, on a TUN device or the like of one: every segment it sends, and when, is the test's own doing.
//!
//! The kernel does what a written packet brings about before the write returns, so that one thread can hold both ends:
//! the socket sends, the peer reads what came out, answers, and the answer has had its effect. Where a link serves for want of TUN
//! that is the rule, but a kernel that is busy with packets may leave it to a thread of its own.

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
