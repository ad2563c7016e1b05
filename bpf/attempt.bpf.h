/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An attempt: the arguments of its program, the values that are read from them to classify, count
 * and filter it, and the state that is kept between its entry and its exit.
 */
#ifndef RETRANS_ATTEMPT_BPF_H
#define RETRANS_ATTEMPT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "address.bpf.h"
#include "kread.bpf.h"

/*
 * One tick in nanoseconds. It is required because icsk_rto is in jiffies, and BTF does not contain
 * CONFIG_HZ.
 */
const volatile __u64 tick_ns = 4000000;

/*
 * True if tracing programs may call bpf_get_socket_cookie(), which requires v5.12 (c5dbb89fc2ac).
 * User space looks for the function in BTF.
 */
const volatile bool has_cookie_helper = true;

/* True if a program at tcp_fragment() reports that memory ran out there. */
const volatile bool nomem_sites = false;

/*
 * True if that program has ever run during an attempt. If the compiler inlined the function into
 * its caller, a copy remains for other callers. Then it proves nothing if the program does not run.
 */
bool fragment_seen = false;

/* The site at which an attempt ran out of memory, as far as a program observed it. */
enum nomem_site {
	NOMEM_SITE_UNKNOWN = 0,
	NOMEM_SITE_FRAGMENT,
	/*
	 * By elimination: the attempt failed before the transmit step, and the sequence numbers are
	 * already trimmed.
	 */
	NOMEM_SITE_UNCLONE,
};

struct attempt {
	/*
	 * The addresses, ports and state of the connection. This is the socket, or the request of a
	 * SYN-ACK.
	 */
	const struct sock_common *skc;
	/* The network namespace and the cgroup. This is the socket, or the listener. */
	const struct sock *sk;
	/* NULL for a SYN-ACK. */
	const struct tcp_sock *tp;
	const struct sk_buff *skb;

	__u32 seq;
	__u32 end_seq;
	__u32 segs;
	__u16 tcp_flags;
	/* The amount by which tcp_retransmit_skb() already increased retrans_out. */
	__u32 retrans_out_added;
	/* The mark, if there is no full socket. */
	__u32 request_mark;

	__s32 err;
	bool has_err;
	enum nomem_site site;
	/*
	 * True if the entry was seen. The next member is the result of is_backlogged() at the
	 * entry.
	 */
	bool entry_seen;
	bool was_backlogged;
	__u32 result;
	__u8 kind;
	__u8 state;
	__u8 ca_state;
	__u8 transmit;

	/* CLOCK_BOOTTIME in nanoseconds; 0 until it is needed. */
	__u64 ts;

	/* True if the program's pointers are plain numbers. This is a constant in each program. */
	bool probing;
};

/* The control block is a part of the segment, so it is read like any field of the segment. */
static __always_inline void attempt_read_segment(struct attempt *a)
{
	const struct tcp_skb_cb *cb = (const void *)a->skb->cb;

	a->seq = KREAD(a, cb, seq);
	a->end_seq = KREAD(a, cb, end_seq);
	a->segs = KREAD(a, cb, tcp_gso_segs);
	/* u8 until v6.15, u16 since ("tcp: extend TCP flags to allow AE bit/ACE field"). */
	if (bpf_core_field_size(cb->tcp_flags) == sizeof(__u16))
		a->tcp_flags = KREAD(a, cb, tcp_flags);
	else
		a->tcp_flags = KREAD(a, (const struct tcp_skb_cb___u8 *)cb, tcp_flags);
}

static __always_inline void attempt_read_socket(struct attempt *a)
{
	a->state = KREAD(a, a->skc, skc_state);
	a->ca_state = KREAD_BITFIELD(a, &a->tp->inet_conn, icsk_ca_state);
}

static __always_inline __u32 netns_of(const struct attempt *a)
{
	const struct net *net = KREAD(a, a->sk, __sk_common.skc_net.net);

	return KREAD(a, net, ns.inum);
}

/* A network namespace before v5.12 (3d368ab87cf6). The cookie is created on the first request. */
struct net___lazy {
	atomic64_t net_cookie;
} __attribute__((preserve_access_index));

static __always_inline __u64 netns_cookie_of(const struct attempt *a)
{
	const struct net *net = KREAD(a, a->sk, __sk_common.skc_net.net);
	const struct net___lazy *lazy = (const void *)net;

	if (bpf_core_field_exists(net->net_cookie))
		return KREAD(a, net, net_cookie);
	if (bpf_core_field_exists(lazy->net_cookie.counter))
		return KREAD(a, lazy, net_cookie.counter);
	return 0;
}

/*
 * Returns the mark of the socket. For a SYN-ACK it is the mark of the request, which the accepted
 * socket inherits.
 */
static __always_inline __u32 mark_of(const struct attempt *a)
{
	return a->tp ? KREAD(a, a->sk, sk_mark) : a->request_mark;
}

/*
 * Returns the socket's cookie. The kernel creates it on the first request. Without the helper it is
 * 0 until then.
 */
static __always_inline __u64 cookie_of(const struct attempt *a)
{
	__u64 cookie = KREAD(a, a->skc, skc_cookie.counter);

	if (!cookie && !a->probing && has_cookie_helper)
		return bpf_get_socket_cookie((void *)a->skc);
	return cookie;
}

/*
 * Returns the id of the socket's cgroup. Returns 0 before v5.15, where the pointer shares its bits
 * with the data of cgroup v1 (8520e224f547). Also returns 0 if the pointer is NULL, which these
 * programs may dereference.
 */
static __always_inline __u64 cgroup_of(const struct attempt *a)
{
	const struct sock *sk = a->sk;
	const struct cgroup *cgroup;
	const struct kernfs_node *kn;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	cgroup = KREAD(a, sk, sk_cgrp_data.cgroup);
	kn = KREAD(a, cgroup, kn);
	return KREAD(a, kn, id);
}

/* Reads an address that is a member of the socket. No pointer is followed. */
#define KREAD_V6(a, to, skc, field)                                                                \
	do {                                                                                       \
		if ((a)->probing) {                                                                \
			const void *v6 =                                                           \
			    __builtin_preserve_access_index(&(skc)->field.in6_u.u6_addr8);         \
			__u64 head = probe_read(v6, 8), tail = probe_read(v6 + 8, 8);              \
                                                                                                   \
			/* In memory order: machines with kprobes are little-endian. */            \
			(to)[0] = head;                                                            \
			(to)[1] = head >> 32;                                                      \
			(to)[2] = tail;                                                            \
			(to)[3] = tail >> 32;                                                      \
		} else {                                                                           \
			(to)[0] = (skc)->field.in6_u.u6_addr32[0];                                 \
			(to)[1] = (skc)->field.in6_u.u6_addr32[1];                                 \
			(to)[2] = (skc)->field.in6_u.u6_addr32[2];                                 \
			(to)[3] = (skc)->field.in6_u.u6_addr32[3];                                 \
		}                                                                                  \
	} while (0)

/* Contains no branch, because the filter calls it. */
static __always_inline struct endpoints endpoints_of(const struct attempt *a)
{
	const struct sock_common *skc = a->skc;
	struct endpoints ends = {.family = KREAD(a, skc, skc_family)};
	__u64 v6 = mask_of(is_zero(ends.family ^ AF_INET6));

	/* Without CONFIG_IPV6 these members do not exist. */
	if (bpf_core_field_exists(skc->skc_v6_daddr)) {
		KREAD_V6(a, ends.saddr.words, skc, skc_v6_rcv_saddr);
		KREAD_V6(a, ends.daddr.words, skc, skc_v6_daddr);
	}
	for (__u32 i = 0; i < 4; i++) {
		ends.saddr.words[i] &= v6;
		ends.daddr.words[i] &= v6;
	}
	ends.saddr.words[0] |= KREAD(a, skc, skc_rcv_saddr) & ~v6;
	ends.daddr.words[0] |= KREAD(a, skc, skc_daddr) & ~v6;
	return ends;
}

static __always_inline __u32 rto_us_of(const struct attempt *a)
{
	return KREAD(a, &a->tp->inet_conn, icsk_rto) * tick_ns / 1000;
}

/* Returns retrans_out without the segment of this attempt. */
static __always_inline __u32 retrans_out_of(const struct attempt *a)
{
	return KREAD(a, a->tp, retrans_out) - a->retrans_out_added;
}

/* Reads all 16 bytes: the name is followed by zeros. */
static __always_inline void read_ca_name(const struct attempt *a, __u8 to[16])
{
	const struct inet_connection_sock *icsk = &a->tp->inet_conn;
	const char *name = KREAD(a, icsk, icsk_ca_ops)->name;

	for (__u32 i = 0; i < 2; i++) {
		const __u64 *from = (const __u64 *)name + i;

		((__u64 *)to)[i] = a->probing ? probe_read(from, sizeof(*from)) : *from;
	}
}

/*
 * The state of an attempt in flight. The key is the socket and never the CPU, because a softirq may
 * begin another attempt inside this one. The socket is locked, so it has one attempt at a time.
 *
 * tcp_retransmit_skb() is the outer function. It calls the inner function __tcp_retransmit_skb(),
 * which decides everything. The tail loss probe calls the inner function directly. If the compiler
 * split the inner function in two, the outer one calls the second part, which has no BTF, and the
 * exit of the inner one is not seen. Therefore the programs attach to both. The exit of the inner
 * function records that it reported the attempt. The exit of the outer one reports the attempts
 * that nothing else reported.
 */
struct in_flight {
	/* The value at the entry. It increases when the attempt reaches the transmit step. */
	__u32 total_retrans;
	bool backlogged;
	/* The tracepoint's argument, if it is an enum, as a number of the Rust table. */
	__u32 result;
	bool has_result;
	/* True if the outer function began the attempt. */
	bool outer;
	bool reported;
	__u8 site;
};

/*
 * Several times the number of CPUs. User space sets it to 1 if the map is not used. If the kernel
 * skips the exit of an attempt, its entry stays until the next attempt of that socket replaces it.
 * The LRU map evicts such entries before any entry that is in use.
 */
#define MAX_IN_FLIGHT 1024

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_IN_FLIGHT);
	__type(key, __u64); /* the address of the socket */
	__type(value, struct in_flight);
} rt_in_flight SEC(".maps");

static __always_inline struct in_flight *attempt_lookup(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&rt_in_flight, &key);
}

static __always_inline void attempt_end(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&rt_in_flight, &key);
}

static __always_inline void attempt_begin(const struct sock *sk, __u32 total_retrans,
					  bool backlogged, bool outer)
{
	struct in_flight fresh = {
	    .total_retrans = total_retrans, .backlogged = backlogged, .outer = outer};
	struct in_flight *f = outer ? NULL : attempt_lookup(sk);
	__u64 key = (__u64)sk;

	/*
	 * This is the inner function of an attempt that the outer one began and that is not
	 * reported yet.
	 */
	if (f && f->outer && !f->reported) {
		/*
		 * Nothing is known about this attempt yet. The values may be left over from an
		 * earlier one.
		 */
		f->total_retrans = total_retrans;
		f->site = NOMEM_SITE_UNKNOWN;
		f->has_result = false;
		f->backlogged = backlogged;
		return;
	}
	bpf_map_update_elem(&rt_in_flight, &key, &fresh, BPF_ANY);
}

/*
 * Returns the site at which memory ran out. -ENOMEM has three causes before the transmit step. One
 * of them is visible in the sequence numbers.
 */
static __always_inline enum nomem_site nomem_site_of(const struct attempt *a,
						     const struct in_flight *f)
{
	if (!nomem_sites || KREAD(a, a->tp, total_retrans) != f->total_retrans)
		return NOMEM_SITE_UNKNOWN;
	if (f->site)
		return f->site;
	return fragment_seen ? NOMEM_SITE_UNCLONE : NOMEM_SITE_UNKNOWN;
}

#endif /* RETRANS_ATTEMPT_BPF_H */
