// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a stream cannot see.

use retrans_macros::reason_table;

/// What a stream cannot see from where it is attached. That there are no such events says nothing.
#[reason_table(key = "unobservable")]
#[non_exhaustive]
pub enum Unobservable {
    /// Attempts that failed: the tracepoint fires for successes only.
    #[reason(value = "failures")]
    Failures = 0,
    /// The error number: what the transmit step came to is `err_default`, and neither `denied` nor `xmit_drop` nor `nobufs`.
    #[reason(value = "err")]
    Err = 1,
    /// Where memory ran out: a -ENOMEM that the state of the socket does not explain is `nomem`.
    #[reason(value = "nomem_sites")]
    NomemSites = 2,
    /// SYN-ACKs that could not be sent: their tracepoint fires for successes only, on every kernel.
    #[reason(value = "synack_failures")]
    SynackFailures = 3,
}
