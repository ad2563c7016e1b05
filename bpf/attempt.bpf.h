/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is read of an attempt before anything is decided: enough to name, count and filter it. */
#ifndef RETRANS_ATTEMPT_BPF_H
#define RETRANS_ATTEMPT_BPF_H

/* Where an attempt ran out of memory, as far as a program was there to see it. */
enum site {
	SITE_UNKNOWN = 0,
	SITE_FRAGMENT,
	/* The one that is left: before the transmit step, and the sequence numbers are trimmed. */
	SITE_UNCLONE,
};

struct attempt {
	/* The connection's addresses, ports and state: the socket, or the request of a SYN-ACK. */
	const struct sock_common *skc;
	/* Where the network namespace and the cgroup are read: the socket, or the listener. */
	const struct sock *sk;
	/* NULL for a SYN-ACK. */
	const struct tcp_sock *tp;
	const struct sk_buff *skb;

	__u32 seq;
	__u32 end_seq;
	__u32 segs;
	__u16 tcp_flags;
	/* What tcp_retransmit_skb() has added to retrans_out already. */
	__u32 retrans_out_added;
	/* Where there is no full socket. */
	__u32 request_mark;

	__s32 err;
	bool has_err;
	enum site site;
	/* Whether the entry was seen, and what is_backlogged() said there. */
	bool entered;
	bool was_backlogged;
	__u32 result;
	__u8 kind;
	__u8 state;
	__u8 ca_state;
	__u8 transmit;

	/* CLOCK_BOOTTIME, ns; 0 until somebody asks. */
	__u64 ts;

	/* Whether the program's pointers are plain numbers: a constant. */
	bool probing;
};

#include "load.bpf.h"

/* Of the segment's control block: it lies within the segment, so it is read like any field of that.
 */
static __always_inline void read_segment(struct attempt *a)
{
	const struct tcp_skb_cb *cb = (const void *)a->skb->cb;

	a->seq = LOAD(cb, seq);
	a->end_seq = LOAD(cb, end_seq);
	a->segs = LOAD(cb, tcp_gso_segs);
	/* u8 until v6.15, u16 since ("tcp: extend TCP flags to allow AE bit/ACE field"). */
	if (bpf_core_field_size(cb->tcp_flags) == sizeof(__u16))
		a->tcp_flags = LOAD(cb, tcp_flags);
	else
		a->tcp_flags = LOAD((const struct tcp_skb_cb___u8 *)cb, tcp_flags);
}

static __always_inline void read_socket(struct attempt *a)
{
	a->state = LOAD(a->skc, skc_state);
	a->ca_state = LOAD_BITFIELD(&a->tp->inet_conn, icsk_ca_state);
}

#endif /* RETRANS_ATTEMPT_BPF_H */
