/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From what __tcp_retransmit_skb() returns, and the tracepoint has since v6.17 (ad892e912b84) as
 * `int err`, to a result.
 *
 * The programs run right before it returns or right after, under the socket's lock, so the state
 * that a check there looked at is still the state here. A precise name is given where that state
 * proves it, the coarser one where it does not.
 */
#ifndef RETRANS_RESULT_BPF_H
#define RETRANS_RESULT_BPF_H

/*
 * Until v5.13 (ac3959fd0dcc) an attempt is put off with -EAGAIN, first of all, while too much of
 * the socket's sits in this host. Nothing says whether the running kernel does so: where its
 * condition is met, -EAGAIN proves nothing else. What is in this host may leave it meanwhile: at
 * the entry it is as much as at the check, or more, and at the exit perhaps less.
 */
static __always_inline bool is_backlogged(const struct attempt *a)
{
	const struct sock *sk = a->sk;
	__u32 queued = LOAD(sk, sk_wmem_queued);
	__u32 limit = queued + (queued >> 2);
	__u32 sndbuf = LOAD(sk, sk_sndbuf);

	return (__u32)LOAD(sk, sk_wmem_alloc.refs.counter) > (limit < sndbuf ? limit : sndbuf);
}

static __always_inline __u32 result_of(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	__u32 snd_una = LOAD(tp, snd_una);

	switch (a->err) {
	case 0:
		return TCP_RETRANS_SUCCESS;
	case -EBUSY:
		return TCP_RETRANS_IN_HOST_QUEUE;
	case -EPERM:
		return RETRANS_OWN_DENIED;
	case NET_XMIT_DROP:
		return RETRANS_OWN_XMIT_DROP;
	case -EHOSTUNREACH:
		/*
		 * A header rebuild that fails leaves the socket without a route; so does a route
		 * that goes away between the rebuild and ip_queue_xmit(). With a route at hand,
		 * something further down said so.
		 */
		return LOAD(a->sk, sk_dst_cache) ? TCP_RETRANS_ERR_DEFAULT : TCP_RETRANS_ROUTE_FAIL;
	case -EAGAIN:
		/* The kernel's own condition: nothing fits the window, and not the head segment. */
		if ((__s32)(snd_una + LOAD(tp, snd_wnd) - a->seq) <= 0 && a->seq != snd_una &&
		    !(a->entered ? a->was_backlogged : is_backlogged(a)))
			return TCP_RETRANS_RCV_ZERO_WINDOW;
		return TCP_RETRANS_ERR_DEFAULT;
	case -EINVAL:
		if (before(a->seq, snd_una) && before(a->end_seq, snd_una))
			return TCP_RETRANS_END_SEQ_ERROR;
		return TCP_RETRANS_ERR_DEFAULT;
	case -ENOMEM:
		/* tcp_trim_head() moves seq up to snd_una when it succeeds, and only then. */
		if (before(a->seq, snd_una))
			return TCP_RETRANS_TRIM_HEAD_NOMEM;
		if (a->site == SITE_FRAGMENT)
			return TCP_RETRANS_FRAG_NOMEM;
		if (a->site == SITE_UNCLONE)
			return TCP_RETRANS_UNCLONE_NOMEM;
		return RETRANS_OWN_NOMEM;
	case -ENOBUFS:
		/*
		 * The copy that an unusual headroom needs, a clone, or something further down:
		 * nothing here tells a copy that failed from one that did not get further.
		 */
		return RETRANS_OWN_NOBUFS;
	default:
		return TCP_RETRANS_ERR_DEFAULT;
	}
}

/*
 * What the kernel's own enum gives, and the errno beside it: the enum files what the transmit step
 * came to under one name, and its last version all sites of -ENOMEM. For the rest it has names, and
 * where it did not use them they are not it.
 */
static __always_inline __u32 refined(const struct attempt *a, __u32 result)
{
	if (result != TCP_RETRANS_ERR_DEFAULT && result != RETRANS_OWN_NOMEM)
		return result;
	switch (a->err) {
	case -EPERM:
	case NET_XMIT_DROP:
	case -ENOBUFS:
	case -ENOMEM:
		return result_of(a);
	default:
		return result;
	}
}

/* The slot in which a result is counted, and its bit in a clause. */
static __always_inline __u32 result_slot(__u32 result)
{
	if (result < 16)
		return result;
	if (result >= 128 && result - 128 + 16 < RETRANS_RESULT_SLOT_UNKNOWN)
		return result - 128 + 16;
	return RETRANS_RESULT_SLOT_UNKNOWN;
}

#endif /* RETRANS_RESULT_BPF_H */
