// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Sets the mark of a socket while the kernel builds a retransmitted segment. The socket then
 * forgets its route after the kernel has checked it, and before IP looks it up.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The same as in linux/bpf.h, because the verifier maps context reads by offset. */
struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
	__u32 state;
	__u32 rtt_min;
	__u32 snd_ssthresh;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 mss_cache;
	__u32 ecn_flags;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 total_retrans;
};

char LICENSE[] SEC("license") = "GPL";

#define CONNECT		3
#define OPTIONS_LENGTH	14
#define OPTIONS_CB_FLAG (1 << 6)
#define SOL_SOCKET	1
#define SO_MARK		36

/* The same layout as in tests/lab/src/late_mark.rs. */
struct selection {
	__u32 port;
	__u32 mark;
};

const volatile struct selection selection;

SEC("sockops")
int late_mark(struct bpf_sock_ops *ops)
{
	__u32 mark = selection.mark;

	if (ops->op == CONNECT && ops->remote_port == bpf_htonl(selection.port))
		bpf_sock_ops_cb_flags_set(ops, OPTIONS_CB_FLAG);
	/* The kernel counts a retransmission before it asks for the options. */
	if (ops->op == OPTIONS_LENGTH && ops->total_retrans)
		bpf_setsockopt(ops, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	return 1;
}
