/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A retransmission attempt as the BPF programs see it: the arguments of the traced function or
 * tracepoint, the values that are read from them to classify, count and filter the attempt, and the
 * state that is kept between the entry and the exit of the traced function.
 *
 * The transmit step is the last part of __tcp_retransmit_skb(), after its checks. It counts the
 * attempt in RetransSegs and total_retrans, and calls tcp_transmit_skb(), which passes the segment
 * to the IP layer.
 */
#ifndef RETRANS_ATTEMPT_BPF_H
#define RETRANS_ATTEMPT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "address.bpf.h"
#include "kread.bpf.h"

/*
 * The length of a jiffy in nanoseconds, set by user space. It is required because icsk_rto is in
 * jiffies, and BTF does not contain CONFIG_HZ.
 */
const volatile __u64 tick_ns = 4000000;

/*
 * True if tracing programs may call bpf_get_socket_cookie(), which requires v5.12 (c5dbb89fc2ac).
 * User space sets this if BTF contains the function that implements the helper.
 */
const volatile bool has_cookie_helper = true;

/* Always 0, but the verifier does not know that. */
__u64 zero_offset = 0;

/*
 * Hides constants from the verifier. An attempt is classified on many paths, each of which sets
 * different constants. A verifier that knows these constants checks the following code once for
 * each path.
 */
static __always_inline __u64 hidden(__u64 value)
{
	return value + *(volatile __u64 *)&zero_offset;
}

/* Set by user space according to the kernel's tracepoint. */
const volatile enum retrans_third_arg third_arg = RETRANS_THIRD_ARG_ERR;

/*
 * True if programs are attached to the exits of tcp_retransmit_skb() and __tcp_retransmit_skb().
 * Then these programs report each attempt whose entry was seen.
 */
const volatile bool with_exit = false;

/* True if the tracepoint reported an attempt that no function exit did. */
bool exit_unseen = false;

/* Returns true if failed attempts are seen as well. */
static __always_inline bool sees_failures(void)
{
	return third_arg != RETRANS_THIRD_ARG_NONE || (with_exit && !exit_unseen);
}

/*
 * True if programs are attached to the entries of tcp_retransmit_skb() and __tcp_retransmit_skb().
 */
const volatile bool with_entry = false;

/* True if a program is attached to tcp_fragment() that records when this function fails. */
const volatile bool nomem_sites = false;

/*
 * True if the program at tcp_fragment() has run during any attempt. The compiler may have inlined
 * tcp_fragment() into __tcp_retransmit_skb(). Then attempts do not run the program, because it is
 * attached to the copy that remains for other callers. So until the program has run during an
 * attempt, its silence does not prove that tcp_fragment() succeeded.
 *
 * If the kernel skipped the exit of an attempt, a later call outside of attempts finds its element
 * and sets this as well. Then unclone_nomem may be wrong if the function was inlined.
 */
bool fragment_seen = false;

/* The allocation site at which an attempt ran out of memory, if it is known. */
enum nomem_site {
	NOMEM_SITE_UNKNOWN = 0,
	NOMEM_SITE_FRAGMENT,
	/*
	 * skb_unclone_keeptruesize(), by elimination: the attempt failed before the transmit step,
	 * and not in tcp_fragment(). result_of() excludes tcp_trim_head() first, by the sequence
	 * numbers.
	 */
	NOMEM_SITE_UNCLONE,
};

struct attempt {
	/*
	 * The socket, or for a SYN-ACK the request socket. The addresses, ports and state are read
	 * from it.
	 */
	const struct sock_common *skc;
	/*
	 * The socket, or for a SYN-ACK the listener. The network namespace, the cgroup and the user
	 * are read from it.
	 */
	const struct sock *sk;
	/* NULL for a SYN-ACK. */
	const struct tcp_sock *tp;
	const struct sk_buff *skb;

	__u32 seq;
	__u32 end_seq;
	/* The number of segments that the attempt retransmits. */
	__u32 segs;
	__u16 tcp_flags;
	/* The amount by which tcp_retransmit_skb() already increased retrans_out. */
	__u32 retrans_out_added;
	/* The mark that is reported for a SYN-ACK. */
	__u32 request_mark;

	/*
	 * The function's return value: 0, a negative errno, or NET_XMIT_DROP. Valid if has_err is
	 * true.
	 */
	__s32 err;
	bool has_err;
	/* The allocation site. Used only if err is -ENOMEM. */
	enum nomem_site site;
	/* True if a program ran at the entry of the traced function. */
	bool entry_seen;
	/* The result of is_backlogged() at that entry. Valid if entry_seen is true. */
	bool was_backlogged;
	/*
	 * True if retrans_stamp was 0 before the attempt: tcp_retransmit_skb() has not been called
	 * since the last recovery ended. It sets retrans_stamp after the attempt.
	 */
	bool is_first;
	__u32 result;  /* a number in retrans-sdk/src/event/result.rs, or an unlisted one */
	__u8 kind;     /* enum retrans_kind */
	__u8 state;    /* include/net/tcp_states.h */
	__u8 ca_state; /* icsk_ca_state: enum tcp_ca_state */
	__u8 transmit; /* enum retrans_transmit */

	/* CLOCK_BOOTTIME in nanoseconds; 0 until the clock is read. */
	__u64 ts;

	/*
	 * True in kprobes and raw tracepoints, where the verifier does not know the types of
	 * pointers, so memory is read with probe_read(). False in programs that dereference
	 * pointers. This is a constant in each program.
	 */
	bool probing;
};

/*
 * Reads the members that describe the segment. The TCP control block is stored in the sk_buff
 * itself (skb->cb), so no further pointer is followed.
 */
static __always_inline void attempt_read_segment(struct attempt *a)
{
	const struct tcp_skb_cb *cb = (const void *)a->skb->cb;

	a->seq = KREAD(a, cb, seq);
	a->end_seq = KREAD(a, cb, end_seq);
	a->segs = KREAD(a, cb, tcp_gso_segs);
	/* u8 before v6.15, u16 since ("tcp: extend TCP flags to allow AE bit/ACE field"). */
	if (bpf_core_field_size(cb->tcp_flags) == sizeof(__u16))
		a->tcp_flags = KREAD(a, cb, tcp_flags);
	else
		a->tcp_flags = KREAD(a, (const struct tcp_skb_cb___u8 *)cb, tcp_flags);
}

static __always_inline void attempt_read_socket(struct attempt *a)
{
	if (!a->entry_seen)
		a->is_first = !KREAD(a, a->tp, retrans_stamp);
	a->state = KREAD(a, a->skc, skc_state);
	a->ca_state = KREAD_BITFIELD(a, &a->tp->inet_conn, icsk_ca_state);
}

static __always_inline __u32 netns_of(const struct attempt *a)
{
	const struct net *net = KREAD(a, a->sk, __sk_common.skc_net.net);

	return KREAD(a, net, ns.inum);
}

/*
 * The members of struct net before v5.12 (3d368ab87cf6), where the kernel creates the cookie when
 * it is first asked for.
 */
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
 * Returns the mark of the socket. For a SYN-ACK it is the mark of the request socket, which the
 * accepted socket inherits.
 */
static __always_inline __u32 mark_of(const struct attempt *a)
{
	return a->tp ? KREAD(a, a->sk, sk_mark) : a->request_mark;
}

/*
 * Returns the socket's cookie. The kernel creates a cookie when it is first asked for. The helper
 * asks for it. Without the helper, this function returns 0 for a socket that has no cookie yet.
 */
static __always_inline __u64 cookie_of(const struct attempt *a)
{
	__u64 cookie = KREAD(a, a->skc, skc_cookie.counter);

	if (!cookie && !a->probing && has_cookie_helper)
		return bpf_get_socket_cookie((void *)a->skc);
	return cookie;
}

/*
 * True unless the host uses cgroup v2 alone. Then the sockets of unrelated
 * containers and services belong to the root of cgroup v2, so its id does not identify any of them,
 * and is not reported. User space sets this.
 */
const volatile bool hides_root_cgroup = false;

/* The id of the root of cgroup v2 since v5.5: see cgroup_setup_root(). */
#define ROOT_CGROUP_ID 1

/*
 * Returns the id of the socket's cgroup. Returns 0 before v5.15, where the pointer shares its bits
 * with the data of cgroup v1 (8520e224f547). Also returns 0 if the pointer is NULL: in
 * tracing programs a read through a NULL pointer is allowed and yields 0, because the kernel
 * handles the fault. The filter calls this function, so it does not branch (see address.bpf.h).
 */
static __always_inline __u64 cgroup_of(const struct attempt *a)
{
	const struct sock *sk = a->sk;
	const struct cgroup *cgroup;
	const struct kernfs_node *kn;
	__u64 id;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	cgroup = KREAD(a, sk, sk_cgrp_data.cgroup);
	kn = KREAD(a, cgroup, kn);
	id = KREAD(a, kn, id);
	if (hides_root_cgroup)
		id &= ~mask_of(is_zero(id ^ ROOT_CGROUP_ID));
	return id;
}

/* Reads an IPv6 address. It is stored in the socket itself, so no further pointer is followed. */
#define KREAD_V6(a, to, skc, field)                                                                \
	do {                                                                                       \
		if ((a)->probing) {                                                                \
			const void *v6 =                                                           \
			    __builtin_preserve_access_index(&(skc)->field.in6_u.u6_addr8);         \
			__u64 head = probe_read(v6, 8), tail = probe_read(v6 + 8, 8);              \
                                                                                                   \
			/* retrans uses kprobes on little-endian architectures only. */            \
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

/*
 * The conditions in this function are constants at load time, so the verifier sees no branch. This
 * is required because the filter calls this function: see address.bpf.h.
 */
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

/* Returns retrans_out without the segments of this attempt. */
static __always_inline __u32 retrans_out_of(const struct attempt *a)
{
	return KREAD(a, a->tp, retrans_out) - a->retrans_out_added;
}

/* Reads the name of the congestion control. All 16 bytes are valid: zeros follow the name. */
static __always_inline void read_ca_name(const struct attempt *a, __u8 to[16])
{
	const struct inet_connection_sock *icsk = &a->tp->inet_conn;
	const char *name = KREAD(a, icsk, icsk_ca_ops)->name;

	for (__u32 i = 0; i < 2; i++) {
		const __u64 *from = (const __u64 *)name + i;

		((__u64 *)to)[i] = a->probing ? probe_read(from, sizeof(*from)) : *from;
	}
}

/* Extended fields: see retrans.h. */

/* Exists only with CONFIG_MPTCP. */
struct tcp_sock___mptcp {
	bool is_mptcp;
} __attribute__((preserve_access_index));

static __always_inline __u8 is_mptcp(const struct attempt *a)
{
	const struct tcp_sock___mptcp *tp = (const void *)a->tp;

	return bpf_core_field_exists(tp->is_mptcp) ? KREAD(a, tp, is_mptcp) : 0;
}

/* Since v6.7 (3868ab0f1925). */
struct tcp_sock___rto {
	u16 total_rto;
} __attribute__((preserve_access_index));

static __always_inline __u32 total_rto_of(const struct attempt *a)
{
	const struct tcp_sock___rto *tp = (const void *)a->tp;

	return bpf_core_field_exists(tp->total_rto) ? KREAD(a, tp, total_rto) : ~0u;
}

static __always_inline __u8 is_orphan(const struct attempt *a)
{
	return KREAD(a, a->sk, __sk_common.skc_flags) >> SOCK_DEAD & 1;
}

/* Returns true if the peer's address is an IPv6 address that is not IPv4-mapped. */
static __always_inline bool is_v6_peer(const struct attempt *a)
{
	const struct sock_common *skc = a->skc;

	if (KREAD(a, skc, skc_family) != AF_INET6)
		return false;
	return KREAD(a, skc, skc_v6_daddr.in6_u.u6_addr32[0]) ||
	       KREAD(a, skc, skc_v6_daddr.in6_u.u6_addr32[1]) ||
	       KREAD(a, skc, skc_v6_daddr.in6_u.u6_addr32[2]) != bpf_htonl(0xffff);
}

/*
 * Returns the byte that the IP layer puts into the header: the traffic class of IPv6, or the TOS of
 * IPv4. A socket with IPv4-mapped addresses sends IPv4.
 */
static __always_inline __u8 tos_of(const struct attempt *a)
{
	const struct inet_sock *inet = &a->tp->inet_conn.icsk_inet;

	if (bpf_core_field_exists(inet->pinet6) && is_v6_peer(a)) {
		const struct ipv6_pinfo *v6 = KREAD(a, inet, pinet6);

		return KREAD(a, v6, tclass);
	}
	return KREAD(a, inet, tos);
}

/*
 * The time of a segment's last transmission before the attempt, by socket. The transmit step
 * overwrites the time in the segment, so programs at the entry of the attempt store it
 * (probes.bpf.h). They are loaded only if age_us is requested.
 */
struct last_sent {
	__u64 sk; /* like the key; detects that the element was reused */
	__u64 skb;
	__u64 ns;	     /* CLOCK_MONOTONIC */
	__u32 total_retrans; /* at the entry */
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the address of the socket */
	__type(value, struct last_sent);
} rt_last_sent SEC(".maps");

/*
 * Returns the time at which the segment was last sent before the attempt, or 0 if it is not known.
 * A segment that did not reach the transmit step still contains the time. Otherwise the element
 * must be of this attempt: each attempt that reaches the step increases total_retrans by its
 * segments, and nothing else increases it.
 */
static __always_inline __u64 last_sent_of(const struct attempt *a)
{
	__u64 key = (__u64)a->sk, ns;
	const struct last_sent *last;

	if (a->transmit == RETRANS_TRANSMIT_NO) {
		ns = KREAD(a, a->skb, skb_mstamp_ns);
		/*
		 * Otherwise clang merges this load with the one below. The verifier rejects a load
		 * through two kinds of pointers.
		 */
		barrier_var(ns);
		return ns;
	}
	if (a->transmit != RETRANS_TRANSMIT_YES)
		return 0;
	last = bpf_map_lookup_elem(&rt_last_sent, &key);
	if (!last || last->sk != key || last->skb != (__u64)a->skb ||
	    last->total_retrans + a->segs != KREAD(a, a->tp, total_retrans))
		return 0;
	ns = last->ns;
	barrier_var(ns);
	return ns;
}

/* Returns the age of the segment's previous copy in microseconds, or ~0 if it is not known. */
static __always_inline __u32 age_us_of(const struct attempt *a)
{
	__u64 sent = last_sent_of(a), now = bpf_ktime_get_ns(), age;

	if (!sent)
		return ~0u;
	/* With pacing, the time may be in the future. */
	age = sent < now ? (now - sent) / 1000 : 0;
	return age < ~0u ? age : ~0u;
}

/*
 * The state of an attempt in flight, that is, between the entry and the exit of the traced
 * functions. The key of its map is the socket and not the CPU, because a softirq may begin an
 * attempt of another socket on the same CPU before the exit of this one. The socket is locked, so
 * it has one attempt at a time.
 *
 * tcp_retransmit_skb() is the outer function. It calls the inner function, __tcp_retransmit_skb(),
 * which determines the result. The tail loss probe calls the inner function directly. Some
 * compilers split the inner function in two. Then the outer function calls only the second part,
 * __tcp_retransmit_skb.part.0, which has no BTF, and the programs at the inner function do not run
 * for this attempt. Therefore programs are attached to both functions. The program at the exit of
 * the inner function reports the attempt and sets `reported`. The program at the exit of the outer
 * function reports the attempt if `reported` is not set.
 */
struct in_flight {
	/* The address of the socket, like the key. Detects that the element was reused. */
	__u64 sk;
	/* tp->total_retrans at the entry. The transmit step increases it. */
	__u32 total_retrans;
	/* The result of is_backlogged() at the entry. */
	bool backlogged;
	bool is_first; /* see struct attempt */
	/*
	 * The result that the tracepoint's argument reports, if that is an enum: a number in
	 * retrans-sdk/src/event/result.rs, or an unlisted one.
	 */
	__u32 result;
	bool has_result;
	/* True if the outer function began the attempt. */
	bool outer;
	/* True if the program at the exit of the inner function has reported the attempt. */
	bool reported;
	__u8 site; /* enum nomem_site */
};

/*
 * User space sets the size of the map by the number of CPUs (lru_entries()), because before
 * d4adf1c9ee77 (v6.16) each CPU reserves 128 free elements of an LRU map, and a small map evicts
 * elements that are in use. If the kernel skips the program at the exit of an attempt, the map
 * element stays until the next attempt of that socket replaces or resets it. The LRU map evicts
 * such elements first.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the address of the socket */
	__type(value, struct in_flight);
} rt_in_flight SEC(".maps");

/*
 * Returns the element of a socket. The LRU map may evict it and reuse it for another socket between
 * the lookup and this check. A later reuse is not detected. A copy of the element would detect it,
 * but with a copy the verifier of v6.1 finds the kretprobe programs too complex.
 */
static __always_inline struct in_flight *attempt_lookup(const struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct in_flight *f = bpf_map_lookup_elem(&rt_in_flight, &key);

	if (f && f->sk != key)
		f = NULL;
	/*
	 * The verifier requires a test of f in the caller. Without this barrier clang replaces that
	 * test by another test of the addresses.
	 */
	barrier_var(f);
	return f;
}

static __always_inline void attempt_end(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&rt_in_flight, &key);
}

/* Requires the values of the entry in `fresh`. */
static __always_inline void attempt_begin(const struct sock *sk, const struct in_flight *fresh)
{
	struct in_flight *f = fresh->outer ? NULL : attempt_lookup(sk);
	__u64 key = (__u64)sk;

	/*
	 * According to the element, the outer function began this attempt, and it is not reported
	 * yet. But the element may instead be left over from an earlier attempt.
	 */
	if (f && f->outer && !f->reported) {
		/*
		 * If the kernel skipped the exit of an earlier attempt, the element contains the
		 * values of that attempt. So the values from the entry, and what the tracepoint
		 * and tcp_fragment() reported, are set again.
		 */
		f->total_retrans = fresh->total_retrans;
		f->site = NOMEM_SITE_UNKNOWN;
		f->has_result = false;
		f->backlogged = fresh->backlogged;
		f->is_first = fresh->is_first;
		return;
	}
	bpf_map_update_elem(&rt_in_flight, &key, fresh, BPF_ANY);
}

/*
 * Returns the site at which memory ran out. Before the transmit step, -ENOMEM has three causes:
 * tcp_trim_head(), tcp_fragment() and skb_unclone_keeptruesize(). result_of() recognizes the first
 * by the sequence numbers. This function distinguishes the other two.
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
