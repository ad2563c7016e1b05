/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs: at the tracepoints, at the entry and exit of both functions, and at tcp_fragment().
 * Each fills a struct attempt and passes it to output.bpf.h.
 */
#ifndef RETRANS_PROBES_BPF_H
#define RETRANS_PROBES_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "attempt.bpf.h"
#include "classify.bpf.h"
#include "output.bpf.h"

/* Tracepoints. */

const volatile enum retrans_third_arg third_arg = RETRANS_THIRD_ARG_ERR;

/* True if the exit programs report attempts and the result of an enum is used. */
const volatile bool enum_is_source = false;

/*
 * Maps each enumerator of the running kernel, by its number, to the number of the enumerator with
 * the same name in the Rust table. If the table lacks the name, the value is RETRANS_RESULT_UNKNOWN
 * plus the kernel's number.
 */
const volatile __u32 enumerators[RETRANS_MAX_ENUMERATORS] = {};

static __always_inline __u32 result_of_enumerator(__u32 number)
{
	__u64 index = number;

	if (index >= RETRANS_MAX_ENUMERATORS)
		return RETRANS_RESULT_UNKNOWN | (number & 0xffff);
	/* After the barrier clang cannot remove the mask, which the verifier requires. */
	barrier_var(index);
	return enumerators[index & (RETRANS_MAX_ENUMERATORS - 1)];
}

/*
 * Returns an untrusted pointer to the same socket. A tracepoint's arguments are trusted pointers.
 * Since v6.3 (57539b1c0ac2) the verifier searches all of BTF, several times, for each pointer that
 * is read through a trusted one, to find out whether it is trusted too. The programs do not need
 * trusted pointers, and the search took half of the load time.
 */
static __always_inline const struct tcp_sock *untrusted(const struct sock *sk)
{
	return bpf_skc_to_tcp_sock((void *)sk);
}

/*
 * The third argument is read as ctx[2], and only where it is known to exist. The verifier rejects a
 * program that reads an argument that the tracepoint does not have.
 */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(rt_tp_skb, const struct sock *socket, const struct sk_buff *skb)
{
	const struct tcp_sock *tp = untrusted(socket);
	const struct sock *sk = (const void *)tp;
	struct attempt a = {.skb = skb, .probing = false};
	struct in_flight *f;

	/*
	 * Cannot fail, because it is a full TCP socket. The check precedes any pointer arithmetic,
	 * which the verifier rejects on a pointer that may be NULL.
	 */
	if (!tp)
		return 0;
	a.tp = tp;
	a.sk = sk;
	a.skc = &sk->__sk_common;
	f = with_exit ? attempt_lookup(sk) : NULL;
	/*
	 * If the entry was seen, the exit reports the attempt. Otherwise the kernel skipped a
	 * program, or the compiler inlined the function, and only the tracepoint reports it.
	 */
	if (f) {
		if (enum_is_source) {
			f->result = result_of_enumerator(ctx[2]);
			f->has_result = true;
		}
		return 0;
	}
	if (third_arg == RETRANS_THIRD_ARG_ENUM) {
		a.result = result_of_enumerator(ctx[2]);
		return emit_with_result(&a);
	}
	/* Without the argument the tracepoint fires for successes only. */
	a.err = third_arg == RETRANS_THIRD_ARG_ERR ? (__s32)ctx[2] : 0;
	a.has_err = true;
	if (nomem_sites && !with_exit) {
		f = attempt_lookup(sk);
		if (f && a.tp)
			a.transmit = transmit_since(&a, f);
		if (f && a.tp && a.err == -ENOMEM)
			a.site = nomem_site_of(&a, f);
		attempt_end(sk);
	}
	return emit_with_errno(&a, NULL);
}

/*
 * sk is the listener and the connection is the request. With Fast Open, sk is the child, which
 * already exists. The tracepoint fires for successes only, on every kernel.
 */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(rt_tp_synack, const struct sock *sk, const struct request_sock *req)
{
	const struct inet_request_sock *inet_req = (const void *)req;
	/* The request decides, not the state of sk: a listener may be closing. */
	bool child = BPF_CORE_READ((const struct tcp_request_sock *)req, tfo_listener);
	struct attempt a = {
	    .skc = child ? &sk->__sk_common : &req->__req_common,
	    .sk = (const void *)untrusted(sk),
	    .segs = 1,
	    .has_err = true,
	    .result = TCP_RETRANS_SUCCESS,
	    .kind = RETRANS_KIND_SYNACK,
	    .transmit = RETRANS_TRANSMIT_YES,
	    .probing = false,
	};

	/* Cannot fail: both are full TCP sockets. */
	if (!a.sk)
		return 0;
	a.state = a.skc->skc_state;
	a.request_mark = child ? sk->sk_mark : BPF_CORE_READ(inet_req, ir_mark);
	/* The accepted socket inherits the cookie of the request. */
	return emit(&a);
}

/*
 * Entry and exit of both functions, for kernels whose tracepoint does not report failures. They are
 * also used as a companion of the tracepoint.
 */

static __always_inline int handle_entry(const struct sock *sk, bool outer)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	const struct attempt a = {.sk = sk, .probing = false};

	if (tp)
		attempt_begin(sk, tp->total_retrans, is_backlogged(&a), outer);
	return 0;
}

static __always_inline int handle_fexit(const struct sock *sk, const struct sk_buff *skb, int err,
					bool outer)
{
	struct attempt a = {
	    .skc = &sk->__sk_common,
	    .sk = sk,
	    .tp = bpf_skc_to_tcp_sock((void *)sk),
	    .skb = skb,
	    .err = err,
	    .has_err = true,
	    .probing = false,
	};

	return handle_exit(&a, outer);
}

SEC("?fentry/tcp_retransmit_skb")
int BPF_PROG(rt_fentry_outer, const struct sock *sk)
{
	return handle_entry(sk, true);
}

SEC("?fexit/tcp_retransmit_skb")
int BPF_PROG(rt_fexit_outer, const struct sock *sk, const struct sk_buff *skb, int segs, int err)
{
	return handle_fexit(sk, skb, err, true);
}

SEC("?fentry/__tcp_retransmit_skb")
int BPF_PROG(rt_fentry_inner, const struct sock *sk)
{
	return handle_entry(sk, false);
}

SEC("?fexit/__tcp_retransmit_skb")
int BPF_PROG(rt_fexit_inner, const struct sock *sk, const struct sk_buff *skb, int segs, int err)
{
	return handle_fexit(sk, skb, err, false);
}

/*
 * -ENOMEM has three causes before the transmit step. The cause that the sequence numbers do not
 * show is this function. Calls outside of attempts may also fail; they are ignored.
 */
SEC("?fexit/tcp_fragment")
int BPF_PROG(rt_fexit_frag, const struct sock *sk, int tcp_queue, const void *skb, __u32 len,
	     unsigned int mss_now, int gfp, int err)
{
	struct in_flight *f;

	if (!err && fragment_seen)
		return 0;
	f = attempt_lookup(sk);
	if (!f)
		return 0;
	fragment_seen = true;
	if (err)
		f->site = NOMEM_SITE_FRAGMENT;
	return 0;
}

/*
 * The same with kprobes. At the return the arguments are no longer available, so the entry stores
 * them. The key is the stack address of the return address. It distinguishes nested and migrated
 * calls, and a missed return is not confused with the next one, as it would be with a stack of
 * calls.
 */
struct kprobe_args {
	const struct sock *sk;
	const struct sk_buff *skb;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_IN_FLIGHT);
	__type(key, __u64); /* the stack pointer at the entry */
	__type(value, struct kprobe_args);
} rt_kprobe_args SEC(".maps");

/* The architectures whose registers are in vmlinux.h. On others user space does not use kprobes. */
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)

static __always_inline int handle_kprobe(struct pt_regs *ctx, const struct sock *sk,
					 const struct sk_buff *skb, bool outer)
{
	struct kprobe_args args = {.sk = sk, .skb = skb};
	const struct tcp_sock *tp = (const void *)args.sk;
	const struct attempt a = {.sk = args.sk, .probing = true};
	__u64 key = PT_REGS_SP(ctx);

	/*
	 * If the arguments cannot be stored, the exit is not handled. Then the entry is not handled
	 * either.
	 */
	if (bpf_map_update_elem(&rt_kprobe_args, &key, &args, BPF_ANY))
		return 0;
	attempt_begin(args.sk, BPF_CORE_READ(tp, total_retrans), is_backlogged(&a), outer);
	return 0;
}

static __always_inline int handle_kretprobe(struct pt_regs *ctx, int err, bool outer)
{
	__u64 key = PT_REGS_SP(ctx);
	struct kprobe_args *args;
	struct attempt a = {.has_err = true, .probing = true};

#if defined(__TARGET_ARCH_x86)
	/* The return removed its address from the stack. */
	key -= sizeof(__u64);
#endif
	args = bpf_map_lookup_elem(&rt_kprobe_args, &key);
	if (!args)
		return 0;
	a.sk = args->sk;
	a.skc = (const void *)a.sk;
	a.tp = (const void *)a.sk;
	a.skb = args->skb;
	a.err = err;
	bpf_map_delete_elem(&rt_kprobe_args, &key);
	return handle_exit(&a, outer);
}

SEC("?kprobe/tcp_retransmit_skb")
int BPF_KPROBE(rt_kp_outer, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_kprobe(ctx, sk, skb, true);
}

SEC("?kretprobe/tcp_retransmit_skb")
int BPF_KRETPROBE(rt_krp_outer, int err)
{
	return handle_kretprobe(ctx, err, true);
}

SEC("?kprobe/__tcp_retransmit_skb")
int BPF_KPROBE(rt_kp_inner, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_kprobe(ctx, sk, skb, false);
}

SEC("?kretprobe/__tcp_retransmit_skb")
int BPF_KRETPROBE(rt_krp_inner, int err)
{
	return handle_kretprobe(ctx, err, false);
}

#else

SEC("?kprobe/tcp_retransmit_skb")
int rt_kp_outer(void *ctx)
{
	return 0;
}

SEC("?kretprobe/tcp_retransmit_skb")
int rt_krp_outer(void *ctx)
{
	return 0;
}

SEC("?kprobe/__tcp_retransmit_skb")
int rt_kp_inner(void *ctx)
{
	return 0;
}

SEC("?kretprobe/__tcp_retransmit_skb")
int rt_krp_inner(void *ctx)
{
	return 0;
}

#endif

#endif /* RETRANS_PROBES_BPF_H */
