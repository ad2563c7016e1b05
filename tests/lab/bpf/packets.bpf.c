// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A packet rule for kernels without nftables: matching TCP packets are dropped, rejected or
 * modified.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The same as in linux/bpf.h, because the verifier maps context reads by offset. */
struct __sk_buff {
	__u32 len;
};

enum xdp_action {
	XDP_DROP = 1,
	XDP_PASS = 2,
};

char LICENSE[] SEC("license") = "GPL";

#define ETH_HLEN     14
#define IPV6_HEADER  40
#define IPPROTO_TCP  6
#define TCP_FLAGS    13
#define TCP_WINDOW   14
#define TCP_CHECKSUM 16
#define TCP_HEADER   20

/* Actions. */
#define DROP		  0
#define DROP_AS_CONGESTED 2
#define CLOSE_WINDOW	  16

enum which {
	ALL = 0,
	NTH = 1,
	AFTER = 2,
	PER_MILLE = 3,
};

/* The same layout as in tests/lab/src/packets/bpf.rs. Port 0 matches any port. */
struct rule {
	__u64 netns;
	__u32 at_least;
	__u32 number;
	__u16 sport;
	__u16 dport;
	__u8 flags_of;
	__u8 flags;
	__u8 which;
	__u8 does;
};

const volatile struct rule rule;

/* The number of packets that met all other conditions. */
__u32 met;

static __always_inline bool is_of_them(void)
{
	switch (rule.which) {
	case NTH:
		return __sync_fetch_and_add(&met, 1) == rule.number;
	case AFTER:
		return __sync_fetch_and_add(&met, 1) >= rule.number;
	case PER_MILLE:
		return bpf_get_prandom_u32() % 1000 < rule.number;
	default:
		return true;
	}
}

/* Returns the offset of the TCP header from the IP header, or 0. */
static __always_inline __u32 tcp_behind(const __u8 ip[IPV6_HEADER])
{
	if (ip[0] >> 4 == 4)
		return ip[9] == IPPROTO_TCP ? (ip[0] & 0xf) * 4 : 0;
	return ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP ? IPV6_HEADER : 0;
}

static __always_inline bool meets(const __u8 tcp[TCP_HEADER], __u32 len)
{
	if (rule.sport && rule.sport != (tcp[0] << 8 | tcp[1]))
		return false;
	if (rule.dport && rule.dport != (tcp[2] << 8 | tcp[3]))
		return false;
	if ((tcp[TCP_FLAGS] & rule.flags_of) != rule.flags)
		return false;
	return len >= rule.at_least && is_of_them();
}

/* Sets the window to 0 and updates the checksum (RFC 1624). */
static __always_inline void close_window(struct xdp_md *ctx, __u32 at, const __u8 tcp[TCP_HEADER])
{
	__u32 sum = (__u16) ~(tcp[TCP_CHECKSUM] << 8 | tcp[TCP_CHECKSUM + 1]);
	__u8 now[4] = {};

	sum += (__u16) ~(tcp[TCP_WINDOW] << 8 | tcp[TCP_WINDOW + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum;
	now[2] = sum >> 8;
	now[3] = sum;
	bpf_xdp_store_bytes(ctx, at + TCP_WINDOW, now, sizeof(now));
}

SEC("xdp")
int input(struct xdp_md *ctx)
{
	__u32 len = bpf_xdp_get_buff_len(ctx) - ETH_HLEN, behind;
	__u8 ip[IPV6_HEADER], tcp[TCP_HEADER];

	/* The minimum length of a packet with TCP. */
	if (bpf_xdp_load_bytes(ctx, ETH_HLEN, ip, sizeof(ip)))
		return XDP_PASS;
	behind = tcp_behind(ip);
	if (!behind || bpf_xdp_load_bytes(ctx, ETH_HLEN + behind, tcp, sizeof(tcp)))
		return XDP_PASS;
	if (!meets(tcp, len))
		return XDP_PASS;
	if (rule.does != CLOSE_WINDOW)
		return XDP_DROP;
	close_window(ctx, ETH_HLEN + behind, tcp);
	return XDP_PASS;
}

SEC("cgroup_skb/egress")
int output(struct __sk_buff *skb)
{
	const int pass = 1;
	__u8 ip[IPV6_HEADER], tcp[TCP_HEADER];
	__u32 behind;

	if (bpf_get_netns_cookie(skb) != rule.netns || bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
		return pass;
	behind = tcp_behind(ip);
	if (!behind || bpf_skb_load_bytes(skb, behind, tcp, sizeof(tcp)))
		return pass;
	/* The verifier must see each possible value: rejected, and dropped for congestion. */
	if (meets(tcp, skb->len))
		return rule.does == DROP_AS_CONGESTED ? DROP_AS_CONGESTED : DROP;
	return pass;
}

/* At the egress of a link (clsact). The packet begins with its Ethernet header. */
SEC("tc")
int tc_egress(struct __sk_buff *skb)
{
	const int ok = 0, shot = 2;
	__u8 ip[IPV6_HEADER], tcp[TCP_HEADER];
	__u32 behind;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, ip, sizeof(ip)))
		return ok;
	behind = tcp_behind(ip);
	if (!behind || bpf_skb_load_bytes(skb, ETH_HLEN + behind, tcp, sizeof(tcp)))
		return ok;
	return meets(tcp, skb->len - ETH_HLEN) ? shot : ok;
}
