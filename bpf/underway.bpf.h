/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known of an attempt while it is being made, by its socket: never by the CPU, for a
 * softirq may begin another attempt inside this one. The socket is locked, so it has one at a time.
 *
 * tcp_retransmit_skb() is the outer function and __tcp_retransmit_skb() the inner one, where all is
 * decided. The tail loss probe calls the inner one directly. Where a compiler split that in two,
 * the outer one calls the second part, which has no BTF, and the inner one's exit is not seen. So
 * both are attached to, the inner exit notes that it told of the attempt, and the outer one tells
 * of those that nobody did.
 */
#ifndef RETRANS_UNDERWAY_BPF_H
#define RETRANS_UNDERWAY_BPF_H

/* Whether a program at tcp_fragment() tells that memory ran out there. */
const volatile bool sites = false;

/*
 * Whether that program has ever run within an attempt. A compiler that put the function into its
 * caller leaves another copy for others, and then its silence proves nothing.
 */
bool fragment_seen = false;

struct underway {
	/* As it was in the beginning: it rises when the transmit step is reached. */
	__u32 total_retrans;
	bool backlogged;
	/* What the tracepoint gave, where that is an enum, as the Rust table has it. */
	__u32 result;
	bool has_result;
	/* Begun by the outer function. */
	bool outer;
	bool told;
	__u8 site;
};

/*
 * More than there are CPUs, several times over; set to 1 at open where it is not used. Of an
 * attempt whose exit the kernel skipped an entry stays, which the next attempt of that socket
 * replaces: the map drops such before any that is in use.
 */
#define MAX_UNDERWAY 1024

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_UNDERWAY);
	__type(key, __u64); /* the socket's address */
	__type(value, struct underway);
} underway SEC(".maps");

static __always_inline struct underway *underway_of(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&underway, &key);
}

static __always_inline void forget(const struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&underway, &key);
}

static __always_inline void begin(const struct sock *sk, __u32 total_retrans, bool backlogged,
				  bool outer)
{
	struct underway fresh = {
	    .total_retrans = total_retrans, .backlogged = backlogged, .outer = outer};
	struct underway *u = outer ? 0 : underway_of(sk);
	__u64 key = (__u64)sk;

	/* The inner function of an attempt that the outer one began and nobody told of yet. */
	if (u && u->outer && !u->told) {
		/* Nothing is known yet, unless it was left by an earlier one. */
		u->total_retrans = total_retrans;
		u->site = SITE_UNKNOWN;
		u->has_result = false;
		u->backlogged = backlogged;
		return;
	}
	bpf_map_update_elem(&underway, &key, &fresh, 0);
}

/*
 * Where memory ran out; -ENOMEM before the transmit step has three causes, and one of them shows
 * in the sequence numbers.
 */
static __always_inline enum site site_of(const struct attempt *a, const struct underway *u)
{
	if (!sites || LOAD(a->tp, total_retrans) != u->total_retrans)
		return SITE_UNKNOWN;
	if (u->site)
		return u->site;
	return fragment_seen ? SITE_UNCLONE : SITE_UNKNOWN;
}

#endif /* RETRANS_UNDERWAY_BPF_H */
