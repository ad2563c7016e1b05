/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * -ENOMEM has three causes before the transmit step. The one that cannot be told from the sequence
 * numbers is a function of its own. It is called outside of attempts too, and fails there as well,
 * which is nobody's business here.
 */
#ifndef RETRANS_SITES_BPF_H
#define RETRANS_SITES_BPF_H

SEC("?fexit/tcp_fragment")
int fexit_fragment(__u64 *ctx)
{
	/* sk, tcp_queue, skb, len, mss_now, gfp */
	const struct sock *sk = (const void *)ctx[0];
	int err = (int)ctx[6];
	struct underway *u;

	if (!err && fragment_seen)
		return 0;
	u = underway_of(sk);
	if (!u)
		return 0;
	fragment_seen = true;
	if (err)
		u->site = SITE_FRAGMENT;
	return 0;
}

#endif /* RETRANS_SITES_BPF_H */
