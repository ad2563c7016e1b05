/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel macros and anonymous enums, which BTF does not contain by name. */
#ifndef RETRANS_TCP_DEFS_BPF_H
#define RETRANS_TCP_DEFS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define AF_INET	 2
#define AF_INET6 10

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED	 1
#define TCP_SYN_SENT	 2
#define TCP_SYN_RECV	 3
#define TCP_FIN_WAIT1	 4
#define TCP_FIN_WAIT2	 5
#define TCP_TIME_WAIT	 6
#define TCP_CLOSE	 7
#define TCP_LAST_ACK	 9
#define TCP_LISTEN	 10
#define TCP_CLOSING	 11
#define TCP_NEW_SYN_RECV 12

/* include/uapi/linux/in.h */
#define IPPROTO_TCP 6

/* include/uapi/linux/tcp.h, enum tcp_ca_state */
#define TCP_CA_Disorder 1
#define TCP_CA_CWR	2
#define TCP_CA_Recovery 3
#define TCP_CA_Loss	4

/* include/net/inet_connection_sock.h: the purpose of the retransmission timer */
#define ICSK_TIME_RETRANS    1
#define ICSK_TIME_LOSS_PROBE 5

/* include/net/tcp.h */
#define TCPHDR_SYN 0x02
#define TCPCB_LOST 0x04 /* tcp_skb_cb.sacked: the segment is marked lost */

/* include/net/sock.h, enum sock_flags: the bit that is set once the process closed the socket */
#define SOCK_DEAD 0

/* include/net/sock.h, sk_shutdown: both directions are closed */
#define SHUTDOWN_MASK 3

/* include/uapi/asm-generic/errno-base.h, errno.h */
#define EPERM	     1
#define EAGAIN	     11
#define ENOMEM	     12
#define EACCES	     13
#define EBUSY	     16
#define EINVAL	     22
#define EPIPE	     32
#define ENETUNREACH  101
#define ECONNABORTED 103
#define ECONNRESET   104
#define ENOBUFS	     105
#define ETIMEDOUT    110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113

/* include/linux/netdevice.h */
#define NET_XMIT_DROP 1

/* Sequence numbers wrap around: RFC 9293, section 3.4. */
static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

#endif /* RETRANS_TCP_DEFS_BPF_H */
