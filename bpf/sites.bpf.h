/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * -ENOMEM has three causes before the transmit step. Two of them are functions of their own; both
 * are called outside of attempts too, and fail there as well, which is nobody's business here.
 */
#ifndef RETRANS_SITES_BPF_H
#define RETRANS_SITES_BPF_H

static __always_inline int failed_at(enum site site, const struct sock *sk, int err)
{
	struct underway *u;

	if (!err)
		return 0;
	u = underway_of(sk);
	if (u)
		u->site = site;
	return 0;
}

SEC("?fexit/tcp_trim_head")
int fexit_trim_head(__u64 *ctx)
{
	/* sk, skb, len */
	return failed_at(SITE_TRIM_HEAD, (const void *)ctx[0], (int)ctx[3]);
}

SEC("?fexit/tcp_fragment")
int fexit_fragment(__u64 *ctx)
{
	/* sk, tcp_queue, skb, len, mss_now, gfp */
	return failed_at(SITE_FRAGMENT, (const void *)ctx[0], (int)ctx[6]);
}

#endif /* RETRANS_SITES_BPF_H */
