/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tracepoints, whatever the third argument of the one is; user space reads that in BTF. */
#ifndef RETRANS_TRACEPOINT_BPF_H
#define RETRANS_TRACEPOINT_BPF_H

const volatile enum retrans_third third_argument = RETRANS_THIRD_ERR;

/* Whether what an enum says is heeded where an exit tells. */
const volatile bool enum_is_source = false;

/*
 * What the running kernel's enumerators mean, by their numbers there: the number of our table's
 * enumerator of the same name, or RETRANS_RESULT_UNKNOWN and the kernel's number.
 */
const volatile __u32 enumerators[RETRANS_MAX_ENUMERATORS] = {};

static __always_inline __u32 result_of_enumerator(__u32 number)
{
	__u64 index = number;

	if (index >= RETRANS_MAX_ENUMERATORS)
		return RETRANS_RESULT_UNKNOWN | (number & 0xffff);
	/* Behind the barrier clang cannot drop the mask, which the verifier wants to see. */
	barrier_var(index);
	return enumerators[index & (RETRANS_MAX_ENUMERATORS - 1)];
}

/*
 * A tracepoint's arguments are trusted pointers, and since v6.3 (57539b1c0ac2) the verifier looks
 * through all of BTF, several times, for each pointer that is read by way of such a one: whether it
 * is to be trusted too. Nothing here needs that, and it was half of the time to load. What the
 * helper gives is the same socket, and not trusted.
 */
static __always_inline const struct tcp_sock *plain(__u64 sk)
{
	return bpf_skc_to_tcp_sock((void *)sk);
}

SEC("tp_btf/tcp_retransmit_skb")
int retransmit_skb(__u64 *ctx)
{
	const struct tcp_sock *tp = plain(ctx[0]);
	const struct sock *sk = (const void *)tp;
	struct attempt a = {.skb = (const void *)ctx[1], .probing = false};
	struct underway *u;

	/* It is a full TCP socket. Before anything is computed from it: verifiers refuse that. */
	if (!tp)
		return 0;
	a.tp = tp;
	a.sk = sk;
	a.skc = &sk->__sk_common;
	u = with_exit ? underway_of(sk) : 0;
	/*
	 * Where the entry was seen the exit tells. Where not, the kernel skipped a program, or a
	 * compiler put the function into a caller: then this is all that can be had.
	 */
	if (u) {
		if (enum_is_source) {
			u->result = result_of_enumerator(ctx[2]);
			u->has_result = true;
		}
		return 0;
	}
	if (third_argument == RETRANS_THIRD_ENUM) {
		a.result = result_of_enumerator(ctx[2]);
		return tell(&a);
	}
	/* Without the argument the tracepoint fires for successes only. */
	a.err = third_argument == RETRANS_THIRD_ERR ? (__s32)ctx[2] : 0;
	a.has_err = true;
	if (sites && !with_exit) {
		u = underway_of(sk);
		if (u && a.tp)
			a.transmit = transmit_since(&a, u);
		if (u && a.tp && a.err == -ENOMEM)
			a.site = site_of(&a, u);
		forget(sk);
	}
	return name_and_tell(&a, 0);
}

/*
 * sk is the listener and the connection is the request, or, with Fast Open, sk is the child that
 * exists already. Fires for successes only, on every kernel.
 */
SEC("tp_btf/tcp_retransmit_synack")
int retransmit_synack(__u64 *ctx)
{
	const struct sock *sk = (const void *)ctx[0];
	const struct request_sock *req = (const void *)ctx[1];
	const struct inet_request_sock *inet_req = (const void *)req;
	/* By the request, not by the state of sk: a listener may be closing. */
	bool child = BPF_CORE_READ((const struct tcp_request_sock *)req, tfo_listener);
	struct attempt a = {
	    .skc = child ? &sk->__sk_common : &req->__req_common,
	    .sk = (const void *)plain(ctx[0]),
	    .segs = 1,
	    .has_err = true,
	    .result = TCP_RETRANS_SUCCESS,
	    .kind = RETRANS_KIND_SYNACK,
	    .transmit = RETRANS_TRANSMIT_YES,
	    .probing = false,
	};

	/* A full TCP socket, both of them. */
	if (!a.sk)
		return 0;
	a.state = a.skc->skc_state;
	a.request_mark = child ? sk->sk_mark : BPF_CORE_READ(inet_req, ir_mark);
	/* The request's cookie is the one that the accepted socket inherits. */
	return observe(&a);
}

#endif /* RETRANS_TRACEPOINT_BPF_H */
