// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enums of the kernel in a record: TCP state, congestion avoidance state, address family.

use retrans_macros::reason_table;

/// The state of the connection (`include/net/tcp_states.h`).
#[reason_table(key = "state")]
#[non_exhaustive]
pub enum TcpState {
    /// Open in both directions.
    #[reason(value = "established", c_name = "TCP_ESTABLISHED")]
    Established = 1,
    /// A SYN was sent.
    #[reason(value = "syn_sent", c_name = "TCP_SYN_SENT")]
    SynSent = 2,
    /// A SYN was received and answered. The only passive open with this state in an event is a Fast
    /// Open child.
    #[reason(value = "syn_recv", c_name = "TCP_SYN_RECV")]
    SynRecv = 3,
    /// This host has closed the connection; its FIN is not yet acknowledged.
    #[reason(value = "fin_wait1", c_name = "TCP_FIN_WAIT1")]
    FinWait1 = 4,
    /// This host has closed the connection; its FIN is acknowledged.
    #[reason(value = "fin_wait2", c_name = "TCP_FIN_WAIT2")]
    FinWait2 = 5,
    /// Waiting for old segments to leave the network.
    #[reason(value = "time_wait", c_name = "TCP_TIME_WAIT")]
    TimeWait = 6,
    /// No connection.
    #[reason(value = "close", c_name = "TCP_CLOSE")]
    Close = 7,
    /// The peer has closed the connection.
    #[reason(value = "close_wait", c_name = "TCP_CLOSE_WAIT")]
    CloseWait = 8,
    /// The peer and then this host have closed the connection; the FIN is not yet acknowledged.
    #[reason(value = "last_ack", c_name = "TCP_LAST_ACK")]
    LastAck = 9,
    /// A listener.
    #[reason(value = "listen", c_name = "TCP_LISTEN")]
    Listen = 10,
    /// Both have closed the connection at the same time.
    #[reason(value = "closing", c_name = "TCP_CLOSING")]
    Closing = 11,
    /// A passive open that is still a request. This is the state of a SYN-ACK's connection.
    #[reason(value = "new_syn_recv", c_name = "TCP_NEW_SYN_RECV")]
    NewSynRecv = 12,
}

/// The congestion avoidance state (`enum tcp_ca_state`, `include/uapi/linux/tcp.h`).
#[reason_table(key = "ca_state")]
#[non_exhaustive]
pub enum CaState {
    /// The normal state.
    #[reason(value = "open", c_name = "TCP_CA_Open")]
    Open = 0,
    /// Duplicate acknowledgements or SACKs were seen.
    #[reason(value = "disorder", c_name = "TCP_CA_Disorder")]
    Disorder = 1,
    /// The window was reduced because the network or this host reported congestion.
    #[reason(value = "cwr", c_name = "TCP_CA_CWR")]
    Cwr = 2,
    /// Fast recovery.
    #[reason(value = "recovery", c_name = "TCP_CA_Recovery")]
    Recovery = 3,
    /// Recovery after a retransmission timeout.
    #[reason(value = "loss", c_name = "TCP_CA_Loss")]
    Loss = 4,
}

/// The address family. It is `inet` for an IPv4-mapped connection of an IPv6 socket.
#[reason_table(key = "family")]
pub enum Family {
    /// IPv4.
    #[reason(value = "inet", c_name = "AF_INET")]
    Inet = 2,
    /// IPv6.
    #[reason(value = "inet6", c_name = "AF_INET6")]
    Inet6 = 10,
}
