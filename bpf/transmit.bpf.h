/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether an attempt reached the transmit step. With it the kernel counts RetransSegs, whatever
 * comes of the step; the exits before it touch no counter.
 */
#ifndef RETRANS_TRANSMIT_BPF_H
#define RETRANS_TRANSMIT_BPF_H

/* Where the entry was seen: total_retrans rises with RetransSegs, and at no other place. */
static __always_inline __u8 transmit_since(const struct attempt *a, const struct underway *u)
{
	return LOAD(a->tp, total_retrans) != u->total_retrans ? RETRANS_TRANSMIT_YES
							      : RETRANS_TRANSMIT_NO;
}

/*
 * The step is given a copy of the segment if its data is not aligned (where NET_IP_ALIGN is not 0)
 * or its headroom too large: then it is the copy that is stamped.
 */
static __always_inline bool may_be_copied(const struct attempt *a)
{
	const struct sk_buff *skb = a->skb;
	__u64 data = (__u64)LOAD(skb, data);

	return data & 3 || data - (__u64)LOAD(skb, head) >= 0xffff;
}

/*
 * The first thing that __tcp_transmit_skb() does is to stamp the segment with tcp_wstamp_ns, which
 * it raises to the socket's clock; only a success moves it on. The other way round nothing is
 * proven: the stamp may be of an earlier transmission.
 */
static __always_inline bool is_unstamped(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct sk_buff *skb = a->skb;
	__u64 wstamp = LOAD(tp, tcp_wstamp_ns);

	return wstamp < LOAD(tp, tcp_clock_cache) ||
	       (!may_be_copied(a) && LOAD(skb, skb_mstamp_ns) != wstamp);
}

/* Of an attempt whose result is known and whose entry was not seen. */
static __always_inline __u8 transmit_of(const struct attempt *a)
{
	switch (a->result) {
	case TCP_RETRANS_SUCCESS:
	case TCP_RETRANS_PSKB_COPY_NOBUFS:
	case RETRANS_OWN_NOBUFS:
	case RETRANS_OWN_DENIED:
	case RETRANS_OWN_XMIT_DROP:
		return RETRANS_TRANSMIT_YES;
	/* The state proves them, or the kernel says so: what is checked first ends the attempt. */
	case TCP_RETRANS_END_SEQ_ERROR:
	case TCP_RETRANS_TRIM_HEAD_NOMEM:
	case TCP_RETRANS_UNCLONE_NOMEM:
	case TCP_RETRANS_FRAG_NOMEM:
	case TCP_RETRANS_RCV_ZERO_WINDOW:
		return RETRANS_TRANSMIT_NO;
	}
	if (!a->has_err) {
		/* By the kernel's own word. Its others may stand for either side. */
		return a->result == TCP_RETRANS_IN_HOST_QUEUE || a->result == TCP_RETRANS_ROUTE_FAIL
			   ? RETRANS_TRANSMIT_NO
			   : RETRANS_TRANSMIT_UNKNOWN;
	}
	if (is_unstamped(a))
		return RETRANS_TRANSMIT_NO;
	switch (a->err) {
	/* The errnos of the exits before; the step itself can fail with each of them as well. */
	case -EBUSY:
	case -EAGAIN:
	case -EINVAL:
	case -ENOMEM:
	case -EHOSTUNREACH:
		return RETRANS_TRANSMIT_UNKNOWN;
	default:
		return RETRANS_TRANSMIT_YES;
	}
}

#endif /* RETRANS_TRANSMIT_BPF_H */
