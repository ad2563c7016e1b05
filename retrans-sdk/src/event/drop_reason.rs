// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reasons for which the kernel drops a packet.
//!
//! # Design
//!
//! The kernel renumbers its reasons in nearly every release, so the number in a record is that of
//! the running kernel. `kernel/drops.rs` maps it to this table by the name in the kernel's BTF. The
//! numbers of the table are those of Linux 6.18.

use retrans_macros::reason_table;

/// The reason for which the kernel dropped a packet, under the kernel's own name
/// (`enum skb_drop_reason`, without `SKB_DROP_REASON_`).
///
/// Most of them concern received packets, and do not occur in an attempt. A reason that this table
/// does not contain is unlisted, and prints as `k` and the number of the kernel.
/// [`Live::kernel_drop_reason`](crate::stream::Live::kernel_drop_reason) returns its name. Requires
/// Linux 5.17.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::DropReason;
///
/// let reason: DropReason = "NETFILTER_DROP".parse()?;
/// assert_eq!(reason, DropReason::NetfilterDrop);
/// assert_eq!(reason.key_val().to_string(), "drop_reason=NETFILTER_DROP");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[reason_table(key = "drop_reason", c_prefix = "SKB_DROP_REASON_")]
#[non_exhaustive]
pub enum DropReason {
    /// The code that dropped the packet does not state a reason.
    #[reason(value = "NOT_SPECIFIED")]
    NotSpecified = 2,
    /// No socket matches the packet.
    #[reason(value = "NO_SOCKET")]
    NoSocket = 3,
    /// The socket was closed while the packet was queued.
    #[reason(value = "SOCKET_CLOSE")]
    SocketClose = 4,
    /// A filter of the socket dropped the packet.
    #[reason(value = "SOCKET_FILTER")]
    SocketFilter = 5,
    /// The receive buffer of the socket is full.
    #[reason(value = "SOCKET_RCVBUFF")]
    SocketRcvbuff = 6,
    /// A UNIX socket was disconnected.
    #[reason(value = "UNIX_DISCONNECT")]
    UnixDisconnect = 7,
    /// Out-of-band data of a UNIX socket was skipped.
    #[reason(value = "UNIX_SKIP_OOB")]
    UnixSkipOob = 8,
    /// The packet is shorter than its headers.
    #[reason(value = "PKT_TOO_SMALL")]
    PktTooSmall = 9,
    /// The TCP checksum is wrong.
    #[reason(value = "TCP_CSUM")]
    TcpCsum = 10,
    /// The UDP checksum is wrong.
    #[reason(value = "UDP_CSUM")]
    UdpCsum = 11,
    /// Netfilter dropped or rejected the packet: a rule of nftables or iptables, or connection
    /// tracking.
    #[reason(value = "NETFILTER_DROP")]
    NetfilterDrop = 12,
    /// The packet is addressed to another host.
    #[reason(value = "OTHERHOST")]
    Otherhost = 13,
    /// The checksum of the IP header is wrong.
    #[reason(value = "IP_CSUM")]
    IpCsum = 14,
    /// The IP header is invalid.
    #[reason(value = "IP_INHDR")]
    IpInhdr = 15,
    /// The reverse path filter rejected the source address.
    #[reason(value = "IP_RPFILTER")]
    IpRpfilter = 16,
    /// A unicast packet was received in a multicast frame.
    #[reason(value = "UNICAST_IN_L2_MULTICAST")]
    UnicastInL2Multicast = 17,
    /// An IPsec policy forbids the packet.
    #[reason(value = "XFRM_POLICY")]
    XfrmPolicy = 18,
    /// No handler for the protocol in the IP header.
    #[reason(value = "IP_NOPROTO")]
    IpNoproto = 19,
    /// The memory limit of the protocol was reached.
    #[reason(value = "PROTO_MEM")]
    ProtoMem = 20,
    /// The authentication option of TCP is malformed.
    #[reason(value = "TCP_AUTH_HDR")]
    TcpAuthHdr = 21,
    /// The segment lacks the expected MD5 signature.
    #[reason(value = "TCP_MD5NOTFOUND")]
    TcpMd5notfound = 22,
    /// The segment has an unexpected MD5 signature.
    #[reason(value = "TCP_MD5UNEXPECTED")]
    TcpMd5unexpected = 23,
    /// The MD5 signature of the segment is wrong.
    #[reason(value = "TCP_MD5FAILURE")]
    TcpMd5failure = 24,
    /// The segment lacks the expected TCP-AO signature.
    #[reason(value = "TCP_AONOTFOUND")]
    TcpAonotfound = 25,
    /// The segment has an unexpected TCP-AO signature.
    #[reason(value = "TCP_AOUNEXPECTED")]
    TcpAounexpected = 26,
    /// No key for the TCP-AO signature of the segment.
    #[reason(value = "TCP_AOKEYNOTFOUND")]
    TcpAokeynotfound = 27,
    /// The TCP-AO signature of the segment is wrong.
    #[reason(value = "TCP_AOFAILURE")]
    TcpAofailure = 28,
    /// The backlog of the socket is full.
    #[reason(value = "SOCKET_BACKLOG")]
    SocketBacklog = 29,
    /// The TCP flags are not valid in this state.
    #[reason(value = "TCP_FLAGS")]
    TcpFlags = 30,
    /// Data arrived on a socket that is closing.
    #[reason(value = "TCP_ABORT_ON_DATA")]
    TcpAbortOnData = 31,
    /// The receive window is closed.
    #[reason(value = "TCP_ZEROWINDOW")]
    TcpZerowindow = 32,
    /// The data was received before.
    #[reason(value = "TCP_OLD_DATA")]
    TcpOldData = 33,
    /// The data is outside of the receive window.
    #[reason(value = "TCP_OVERWINDOW")]
    TcpOverwindow = 34,
    /// The data is already in the queue of segments out of order.
    #[reason(value = "TCP_OFOMERGE")]
    TcpOfomerge = 35,
    /// The timestamp is too old (PAWS).
    #[reason(value = "TCP_RFC7323_PAWS")]
    TcpRfc7323Paws = 36,
    /// The timestamp of an acknowledgement is too old (PAWS).
    #[reason(value = "TCP_RFC7323_PAWS_ACK")]
    TcpRfc7323PawsAck = 37,
    /// The timestamp is too old for a socket in TIME_WAIT (PAWS).
    #[reason(value = "TCP_RFC7323_TW_PAWS")]
    TcpRfc7323TwPaws = 38,
    /// The echoed timestamp was never sent.
    #[reason(value = "TCP_RFC7323_TSECR")]
    TcpRfc7323Tsecr = 39,
    /// The accept queue of the listener is full.
    #[reason(value = "TCP_LISTEN_OVERFLOW")]
    TcpListenOverflow = 40,
    /// The sequence number is too old.
    #[reason(value = "TCP_OLD_SEQUENCE")]
    TcpOldSequence = 41,
    /// The sequence number is outside of the window.
    #[reason(value = "TCP_INVALID_SEQUENCE")]
    TcpInvalidSequence = 42,
    /// The end of the segment is outside of the window.
    #[reason(value = "TCP_INVALID_END_SEQUENCE")]
    TcpInvalidEndSequence = 43,
    /// The acknowledgement number is outside of the window.
    #[reason(value = "TCP_INVALID_ACK_SEQUENCE")]
    TcpInvalidAckSequence = 44,
    /// The segment is a reset.
    #[reason(value = "TCP_RESET")]
    TcpReset = 45,
    /// An unexpected SYN.
    #[reason(value = "TCP_INVALID_SYN")]
    TcpInvalidSyn = 46,
    /// The socket is closed.
    #[reason(value = "TCP_CLOSE")]
    TcpClose = 47,
    /// The segment repeats data of TCP Fast Open.
    #[reason(value = "TCP_FASTOPEN")]
    TcpFastopen = 48,
    /// The acknowledgement is old.
    #[reason(value = "TCP_OLD_ACK")]
    TcpOldAck = 49,
    /// The acknowledgement is too old.
    #[reason(value = "TCP_TOO_OLD_ACK")]
    TcpTooOldAck = 50,
    /// The acknowledgement is for data that was not sent.
    #[reason(value = "TCP_ACK_UNSENT_DATA")]
    TcpAckUnsentData = 51,
    /// The queue of segments out of order was pruned.
    #[reason(value = "TCP_OFO_QUEUE_PRUNE")]
    TcpOfoQueuePrune = 52,
    /// There is no room for a segment out of order.
    #[reason(value = "TCP_OFO_DROP")]
    TcpOfoDrop = 53,
    /// There is no route for an outgoing packet.
    #[reason(value = "IP_OUTNOROUTES")]
    IpOutnoroutes = 54,
    /// A BPF program of the cgroup dropped an outgoing packet.
    #[reason(value = "BPF_CGROUP_EGRESS")]
    BpfCgroupEgress = 55,
    /// IPv6 is disabled on the device.
    #[reason(value = "IPV6DISABLED")]
    Ipv6disabled = 56,
    /// The entry for the neighbour cannot be created.
    #[reason(value = "NEIGH_CREATEFAIL")]
    NeighCreatefail = 57,
    /// The neighbour does not answer.
    #[reason(value = "NEIGH_FAILED")]
    NeighFailed = 58,
    /// The queue of packets that wait for the neighbour's address is full.
    #[reason(value = "NEIGH_QUEUEFULL")]
    NeighQueuefull = 59,
    /// The entry for the neighbour was removed.
    #[reason(value = "NEIGH_DEAD")]
    NeighDead = 60,
    /// The link-layer header cannot be built.
    #[reason(value = "NEIGH_HH_FILLFAIL")]
    NeighHhFillfail = 61,
    /// A program or filter at the egress hook of the device dropped the packet.
    #[reason(value = "TC_EGRESS")]
    TcEgress = 62,
    /// A security module dropped the packet.
    #[reason(value = "SECURITY_HOOK")]
    SecurityHook = 63,
    /// A queueing discipline dropped the packet.
    #[reason(value = "QDISC_DROP")]
    QdiscDrop = 64,
    /// A queueing discipline reached its limit.
    #[reason(value = "QDISC_OVERLIMIT")]
    QdiscOverlimit = 65,
    /// A queueing discipline dropped the packet to signal congestion.
    #[reason(value = "QDISC_CONGESTED")]
    QdiscCongested = 66,
    /// The qdisc cake dropped a packet of an unresponsive flow.
    #[reason(value = "CAKE_FLOOD")]
    CakeFlood = 67,
    /// The qdisc fq reached the limit of a priority band.
    #[reason(value = "FQ_BAND_LIMIT")]
    FqBandLimit = 68,
    /// The time of the packet is after the horizon of the qdisc fq.
    #[reason(value = "FQ_HORIZON_LIMIT")]
    FqHorizonLimit = 69,
    /// The qdisc fq reached the limit of a flow.
    #[reason(value = "FQ_FLOW_LIMIT")]
    FqFlowLimit = 70,
    /// The input queue of the CPU is full.
    #[reason(value = "CPU_BACKLOG")]
    CpuBacklog = 71,
    /// An XDP program dropped the packet.
    #[reason(value = "XDP")]
    Xdp = 72,
    /// A program or filter at the ingress hook of the device dropped the packet.
    #[reason(value = "TC_INGRESS")]
    TcIngress = 73,
    /// No handler for the protocol of the frame.
    #[reason(value = "UNHANDLED_PROTO")]
    UnhandledProto = 74,
    /// The checksum of the packet cannot be computed.
    #[reason(value = "SKB_CSUM")]
    SkbCsum = 75,
    /// The packet cannot be split into segments.
    #[reason(value = "SKB_GSO_SEG")]
    SkbGsoSeg = 76,
    /// Memory of a process cannot be read or written.
    #[reason(value = "SKB_UCOPY_FAULT")]
    SkbUcopyFault = 77,
    /// The header for the device is invalid.
    #[reason(value = "DEV_HDR")]
    DevHdr = 78,
    /// The device is not ready to transmit.
    #[reason(value = "DEV_READY")]
    DevReady = 79,
    /// The ring of the device is full.
    #[reason(value = "FULL_RING")]
    FullRing = 80,
    /// There is no memory.
    #[reason(value = "NOMEM")]
    Nomem = 81,
    /// A header is truncated.
    #[reason(value = "HDR_TRUNC")]
    HdrTrunc = 82,
    /// A filter of a TUN or TAP device dropped the packet.
    #[reason(value = "TAP_FILTER")]
    TapFilter = 83,
    /// The transmit filter of a TAP device dropped the packet.
    #[reason(value = "TAP_TXFILTER")]
    TapTxfilter = 84,
    /// The ICMP checksum is wrong.
    #[reason(value = "ICMP_CSUM")]
    IcmpCsum = 85,
    /// The packet is not valid for the protocol.
    #[reason(value = "INVALID_PROTO")]
    InvalidProto = 86,
    /// The destination address is not valid here.
    #[reason(value = "IP_INADDRERRORS")]
    IpInaddrerrors = 87,
    /// There is no route for a received packet.
    #[reason(value = "IP_INNOROUTES")]
    IpInnoroutes = 88,
    /// The source address is an address of this host.
    #[reason(value = "IP_LOCAL_SOURCE")]
    IpLocalSource = 89,
    /// The source address is not valid.
    #[reason(value = "IP_INVALID_SOURCE")]
    IpInvalidSource = 90,
    /// The source or destination is in the loopback network.
    #[reason(value = "IP_LOCALNET")]
    IpLocalnet = 91,
    /// The destination address is not valid.
    #[reason(value = "IP_INVALID_DEST")]
    IpInvalidDest = 92,
    /// The packet exceeds the MTU and may not be fragmented.
    #[reason(value = "PKT_TOO_BIG")]
    PktTooBig = 93,
    /// The fragment was received before.
    #[reason(value = "DUP_FRAG")]
    DupFrag = 94,
    /// Fragments were missing until the timeout.
    #[reason(value = "FRAG_REASM_TIMEOUT")]
    FragReasmTimeout = 95,
    /// The fragment is too far from the others.
    #[reason(value = "FRAG_TOO_FAR")]
    FragTooFar = 96,
    /// The TTL or hop limit is below the minimum of the socket.
    #[reason(value = "TCP_MINTTL")]
    TcpMinttl = 97,
    /// An extension header of IPv6 is malformed.
    #[reason(value = "IPV6_BAD_EXTHDR")]
    Ipv6BadExthdr = 98,
    /// A neighbour discovery packet is fragmented.
    #[reason(value = "IPV6_NDISC_FRAG")]
    Ipv6NdiscFrag = 99,
    /// The hop limit of a neighbour discovery packet is wrong.
    #[reason(value = "IPV6_NDISC_HOP_LIMIT")]
    Ipv6NdiscHopLimit = 100,
    /// The code of a neighbour discovery packet is wrong.
    #[reason(value = "IPV6_NDISC_BAD_CODE")]
    Ipv6NdiscBadCode = 101,
    /// The options of a neighbour discovery packet are malformed.
    #[reason(value = "IPV6_NDISC_BAD_OPTIONS")]
    Ipv6NdiscBadOptions = 102,
    /// A neighbour solicitation is for another host.
    #[reason(value = "IPV6_NDISC_NS_OTHERHOST")]
    Ipv6NdiscNsOtherhost = 103,
    /// A queue was purged.
    #[reason(value = "QUEUE_PURGE")]
    QueuePurge = 104,
    /// The cookie of a filter action is wrong.
    #[reason(value = "TC_COOKIE_ERROR")]
    TcCookieError = 105,
    /// A packet socket cannot take the packet.
    #[reason(value = "PACKET_SOCK_ERROR")]
    PacketSockError = 106,
    /// The chain of a filter does not exist.
    #[reason(value = "TC_CHAIN_NOTFOUND")]
    TcChainNotfound = 107,
    /// A filter reclassified the packet too often.
    #[reason(value = "TC_RECLASSIFY_LOOP")]
    TcReclassifyLoop = 108,
    /// The VXLAN header is invalid.
    #[reason(value = "VXLAN_INVALID_HDR")]
    VxlanInvalidHdr = 109,
    /// No VXLAN device has the VNI of the packet.
    #[reason(value = "VXLAN_VNI_NOT_FOUND")]
    VxlanVniNotFound = 110,
    /// The source MAC address is not valid.
    #[reason(value = "MAC_INVALID_SOURCE")]
    MacInvalidSource = 111,
    /// The VXLAN forwarding entry belongs to another port.
    #[reason(value = "VXLAN_ENTRY_EXISTS")]
    VxlanEntryExists = 112,
    /// There is no target to transmit to.
    #[reason(value = "NO_TX_TARGET")]
    NoTxTarget = 113,
    /// The ECN bits of a tunnel's headers contradict each other.
    #[reason(value = "IP_TUNNEL_ECN")]
    IpTunnelEcn = 114,
    /// The packet lacks the metadata that the tunnel requires.
    #[reason(value = "TUNNEL_TXINFO")]
    TunnelTxinfo = 115,
    /// The source MAC address is an address of this host.
    #[reason(value = "LOCAL_MAC")]
    LocalMac = 116,
    /// The device does not answer ARP in a private VLAN.
    #[reason(value = "ARP_PVLAN_DISABLE")]
    ArpPvlanDisable = 117,
    /// The destination MAC address is reserved for MAC control.
    #[reason(value = "MAC_IEEE_MAC_CONTROL")]
    MacIeeeMacControl = 118,
    /// The spanning tree blocks the port of the bridge.
    #[reason(value = "BRIDGE_INGRESS_STP_STATE")]
    BridgeIngressStpState = 119,
    /// The CAN frame is invalid.
    #[reason(value = "CAN_RX_INVALID_FRAME")]
    CanRxInvalidFrame = 120,
    /// The CAN FD frame is invalid.
    #[reason(value = "CANFD_RX_INVALID_FRAME")]
    CanfdRxInvalidFrame = 121,
    /// The CAN XL frame is invalid.
    #[reason(value = "CANXL_RX_INVALID_FRAME")]
    CanxlRxInvalidFrame = 122,
    /// The packet is in memory that is reserved for reclaim.
    #[reason(value = "PFMEMALLOC")]
    Pfmemalloc = 123,
    /// The qdisc dualpi2 dropped the packet by its step.
    #[reason(value = "DUALPI2_STEP_DROP")]
    Dualpi2StepDrop = 124,
    /// PSP dropped a received packet.
    #[reason(value = "PSP_INPUT")]
    PspInput = 125,
    /// PSP dropped an outgoing packet.
    #[reason(value = "PSP_OUTPUT")]
    PspOutput = 126,
    /// The packet passed through too many nested devices.
    #[reason(value = "RECURSION_LIMIT")]
    RecursionLimit = 127,
    /// A queueing discipline dropped the packet. Linux 7.x has reasons of its own for queueing
    /// disciplines.
    #[reason(value = "QDISC_DROP_GENERIC", c_name = "QDISC_DROP_GENERIC")]
    QdiscDropGeneric = 0x1001,
    /// A queueing discipline reached its limit.
    #[reason(value = "QDISC_DROP_OVERLIMIT", c_name = "QDISC_DROP_OVERLIMIT")]
    QdiscDropOverlimit = 0x1002,
    /// A queueing discipline dropped the packet to signal congestion.
    #[reason(value = "QDISC_DROP_CONGESTED", c_name = "QDISC_DROP_CONGESTED")]
    QdiscDropCongested = 0x1003,
    /// A queueing discipline has no room for another flow.
    #[reason(value = "QDISC_DROP_MAXFLOWS", c_name = "QDISC_DROP_MAXFLOWS")]
    QdiscDropMaxflows = 0x1004,
    /// A queueing discipline dropped a packet of an unresponsive flow.
    #[reason(value = "QDISC_DROP_FLOOD_PROTECTION", c_name = "QDISC_DROP_FLOOD_PROTECTION")]
    QdiscDropFloodProtection = 0x1005,
    /// A queueing discipline reached the limit of a priority band.
    #[reason(value = "QDISC_DROP_BAND_LIMIT", c_name = "QDISC_DROP_BAND_LIMIT")]
    QdiscDropBandLimit = 0x1006,
    /// The time of the packet is after the horizon of the queueing discipline.
    #[reason(value = "QDISC_DROP_HORIZON_LIMIT", c_name = "QDISC_DROP_HORIZON_LIMIT")]
    QdiscDropHorizonLimit = 0x1007,
    /// A queueing discipline reached the limit of a flow.
    #[reason(value = "QDISC_DROP_FLOW_LIMIT", c_name = "QDISC_DROP_FLOW_LIMIT")]
    QdiscDropFlowLimit = 0x1008,
}
