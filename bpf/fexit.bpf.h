/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The source where the tracepoint does not tell of failures: entry and exit of both functions. */
#ifndef RETRANS_FEXIT_BPF_H
#define RETRANS_FEXIT_BPF_H

static __always_inline int fentry(const struct sock *sk, bool outer)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	const struct attempt a = {.sk = sk, .probing = false};

	if (tp)
		begin(sk, tp->total_retrans, is_backlogged(&a), outer);
	return 0;
}

/* Both take sk, skb and segs. */
static __always_inline int fexit(__u64 *ctx, bool outer)
{
	const struct sock *sk = (const void *)ctx[0];
	struct attempt a = {
	    .skc = &sk->__sk_common,
	    .sk = sk,
	    .tp = bpf_skc_to_tcp_sock((void *)sk),
	    .skb = (const void *)ctx[1],
	    .err = (int)ctx[3],
	    .has_err = true,
	    .probing = false,
	};

	return returned(&a, outer);
}

SEC("?fentry/tcp_retransmit_skb")
int fentry_outer(__u64 *ctx)
{
	return fentry((const void *)ctx[0], true);
}

SEC("?fexit/tcp_retransmit_skb")
int fexit_outer(__u64 *ctx)
{
	return fexit(ctx, true);
}

SEC("?fentry/__tcp_retransmit_skb")
int fentry_inner(__u64 *ctx)
{
	return fentry((const void *)ctx[0], false);
}

SEC("?fexit/__tcp_retransmit_skb")
int fexit_inner(__u64 *ctx)
{
	return fexit(ctx, false);
}

#endif /* RETRANS_FEXIT_BPF_H */
