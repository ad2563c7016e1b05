/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs: at the tracepoints, at the entry and exit of tcp_retransmit_skb() and
 * __tcp_retransmit_skb(), and at the exits of tcp_rtx_synack() and tcp_fragment(). Each fills a
 * struct attempt and passes it to output.bpf.h.
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
#include "drops.bpf.h"
#include "output.bpf.h"
#include "stats.bpf.h"

/* Tracepoints. */

/*
 * True if the attach method is tp_enum. Then the tracepoint provides the result of the attempts
 * that the exit programs report.
 */
const volatile bool enum_is_source = false;

/*
 * Maps each enumerator of the running kernel, by its number, to the result number of the same name
 * in retrans-sdk/src/event/result.rs. If no result has the name, the value is
 * RETRANS_RESULT_UNKNOWN plus the kernel's number.
 */
const volatile __u32 enumerators[RETRANS_MAX_ENUMERATORS] = {};

static __always_inline __u32 result_of_enumerator(__u32 number)
{
	__u64 index = number;

	if (index >= RETRANS_MAX_ENUMERATORS)
		return RETRANS_RESULT_UNKNOWN | (number & 0xffff);
	/* The verifier requires the mask; the barrier keeps clang from removing it. */
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
 * Counts an attempt that the tracepoint reports and no function exit does. The tracepoint reports
 * successes only, so similar attempts that failed may not have been reported at all.
 */
static __always_inline void count_tracepoint_only(void)
{
	struct retrans_counters *c = counters_of_cpu();

	exit_unseen = true;
	/* Cannot fail; the verifier requires the check. */
	if (c)
		count(&c->tracepoint_only, 1);
}

/*
 * Handles the tcp_retransmit_skb tracepoint. The third argument is read as ctx[2], and only where
 * it is known to exist. The kernel rejects a program that reads an argument that the tracepoint
 * does not have.
 */
static __always_inline int handle_tracepoint(unsigned long long *ctx, const struct tcp_sock *tp,
					     const struct sk_buff *skb, bool probing)
{
	const struct sock *sk = (const void *)tp;
	struct attempt a = {.skb = skb, .probing = probing};
	struct in_flight *f;

	/*
	 * Cannot fail: the tracepoint fires for full TCP sockets only. The check precedes any
	 * pointer arithmetic, which the verifier rejects on a pointer that may be NULL.
	 */
	if (!tp)
		return 0;
	a.tp = tp;
	a.sk = sk;
	a.skc = &sk->__sk_common;
	f = with_exit ? attempt_lookup(sk) : NULL;
	/*
	 * If the entry was seen, the program at the exit reports the attempt. Otherwise the kernel
	 * skipped the program at the entry, or the compiler inlined the function, and only the
	 * tracepoint reports the attempt.
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
	if (with_exit && third_arg == RETRANS_THIRD_ARG_NONE)
		count_tracepoint_only();
	/* Without a third argument the tracepoint fires for successes only. */
	a.err = third_arg == RETRANS_THIRD_ARG_ERR ? (__s32)ctx[2] : 0;
	a.has_err = true;
	if (with_entry && !with_exit) {
		f = attempt_lookup(sk);
		if (f && a.tp)
			a.transmit = transmit_since(&a, f);
		if (f && a.tp && a.err == -ENOMEM)
			a.site = nomem_site_of(&a, f);
		attempt_end(sk);
	}
	return emit_with_errno(&a, NULL);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(rt_tp_skb, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_tracepoint(ctx, untrusted(sk), skb, false);
}

/*
 * The same tracepoint on a kernel whose own BTF is not available, which a tp_btf program requires.
 */
SEC("?raw_tp/tcp_retransmit_skb")
int BPF_PROG(rt_raw_skb, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_tracepoint(ctx, (const void *)sk, skb, true);
}

/*
 * Handles the tracepoint kfree_skb. Most packets that a host drops belong to no socket, or not to a
 * TCP socket. The verifier does not accept a socket that was read from a packet as an argument of
 * bpf_skc_to_tcp_sock(), so the members of struct tcp_sock are read with the helper for any memory.
 */
static __always_inline int handle_drop(unsigned long long *ctx, const struct sk_buff *skb,
				       const void *location, bool probing)
{
	const struct attempt a = {.probing = probing};
	const struct sock *sk = KREAD(&a, skb, sk);
	__u8 state;

	if (!sk)
		return 0;
	/* Not full sockets, which lack the other members. */
	state = KREAD(&a, sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0;
	if (KREAD(&a, sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	/* Read as ctx[2], and only where the argument exists: see handle_tracepoint(). */
	record_drop(skb, (const void *)sk, (__u64)location, has_drop_reason ? (__u32)ctx[2] : 0);
	return 0;
}

SEC("?tp_btf/kfree_skb")
int BPF_PROG(rt_tp_drop, const struct sk_buff *skb, void *location)
{
	return handle_drop(ctx, skb, location, false);
}

/* The same tracepoint without the kernel's own BTF. */
SEC("?raw_tp/kfree_skb")
int BPF_PROG(rt_raw_drop, const struct sk_buff *skb, void *location)
{
	return handle_drop(ctx, skb, location, true);
}

/*
 * Returns the mark of a request socket. A tracing program does not use bpf_probe_read_kernel() for
 * it, which lockdown=confidentiality forbids. The helper does not accept the request sockets of a
 * listener with operations of its own (MPTCP, sockmap). Then the listener's mark is returned, from
 * which the request socket gets its own mark (inet_request_mark()). It gets the mark of the SYN
 * only if the listener has no mark and net.ipv4.tcp_fwmark_accept is set.
 */
static __always_inline __u32 request_mark_of(const struct attempt *a,
					     const struct request_sock *req)
{
	const struct tcp_request_sock *tcp_req;

	if (a->probing)
		return PROBE_READ((const struct inet_request_sock *)req, ir_mark);
	tcp_req = (const void *)bpf_skc_to_tcp_request_sock((void *)req);
	return tcp_req ? tcp_req->req.ir_mark : KREAD(a, a->sk, sk_mark);
}

/*
 * Fills an attempt to retransmit a SYN-ACK. sk is the listener, and the request socket describes
 * the connection. With Fast Open, sk is the child, which already exists and describes the
 * connection. Returns false if sk is not a full TCP socket, which does not occur.
 */
static __always_inline bool fill_synack(struct attempt *a, const struct sock *sk,
					const struct request_sock *req)
{
	const struct tcp_sock *tp = a->probing ? (const void *)sk : untrusted(sk);
	bool child;

	/* Cannot fail: a listener and a child are full TCP sockets. */
	if (!tp)
		return false;
	/* Not the state of sk: a listener may be closing. */
	child = (__u64)KREAD(a, tp, fastopen_rsk) == (__u64)req;
	a->sk = (const void *)tp;
	/* The cookie is read from the request socket; the accepted socket inherits it. */
	a->skc = child ? &sk->__sk_common : &req->__req_common;
	a->state = KREAD(a, a->skc, skc_state);
	a->request_mark = child ? KREAD(a, a->sk, sk_mark) : request_mark_of(a, req);
	a->segs = 1;
	a->has_err = true;
	a->kind = RETRANS_KIND_SYNACK;
	return true;
}

/* The tracepoint fires for successes only, on every kernel. handle_synack() reports failures. */
static __always_inline int handle_synack_tracepoint(const struct sock *sk,
						    const struct request_sock *req, bool probing)
{
	struct attempt a = {
	    .result = TCP_RETRANS_SUCCESS,
	    .transmit = RETRANS_TRANSMIT_YES,
	    .probing = probing,
	};

	return fill_synack(&a, sk, req) ? emit(&a) : 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(rt_tp_synack, const struct sock *sk, const struct request_sock *req)
{
	return handle_synack_tracepoint(sk, req, false);
}

SEC("?raw_tp/tcp_retransmit_synack")
int BPF_PROG(rt_raw_synack, const struct sock *sk, const struct request_sock *req)
{
	return handle_synack_tracepoint(sk, req, true);
}

/*
 * Entry and exit of the functions, with fentry and fexit. They are for kernels whose tracepoint
 * does not report failures. They are also attached in addition to the tracepoint (as its
 * companion).
 */

static __always_inline int handle_entry(const struct sock *sk, bool outer)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);
	const struct attempt a = {.sk = sk, .probing = false};
	struct in_flight entry = {.sk = (__u64)sk, .outer = outer};

	if (!tp)
		return 0;
	entry.total_retrans = tp->total_retrans;
	entry.backlogged = is_backlogged(&a);
	entry.is_first = !tp->retrans_stamp;
	attempt_begin(sk, &entry);
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

/*
 * Returns the result of a SYN-ACK whose transmission failed with a->err. tcp_v4_send_synack()
 * returns -1 if there is no route or no memory, and -EPERM of netfilter is the same number. So with
 * IPv4 -1 proves nothing. tcp_v6_send_synack() returns -ENOMEM in these two cases, so with IPv6
 * -EPERM has the same causes as for a segment. Other errnos are from the IP layer or below.
 */
static __always_inline __u32 result_of_synack(const struct attempt *a,
					      const struct request_sock *req)
{
	const struct request_sock_ops *ops = KREAD(a, req, rsk_ops);

	switch (a->err) {
	case -EPERM:
		/*
		 * Not the family of the request socket, which is AF_INET6 also for IPv4 connections
		 * of an IPv6 listener.
		 */
		return KREAD(a, ops, family) == AF_INET6 ? RETRANS_OWN_DENIED
							 : TCP_RETRANS_ERR_DEFAULT;
	case NET_XMIT_DROP:
		return RETRANS_OWN_XMIT_DROP;
	case -ENOBUFS:
		return RETRANS_OWN_NOBUFS;
	default:
		return TCP_RETRANS_ERR_DEFAULT;
	}
}

/*
 * Reports a SYN-ACK at the exit of tcp_rtx_synack() if it failed. The tracepoint has reported a
 * success. The kernel counts a SYN-ACK in RetransSegs only if it succeeds, so the value of
 * `transmit` is no.
 */
static __always_inline int handle_synack(struct attempt *a, const struct sock *sk,
					 const struct request_sock *req)
{
	if (!a->err || !fill_synack(a, sk, req))
		return 0;
	a->result = result_of_synack(a, req);
	a->transmit = RETRANS_TRANSMIT_NO;
	return emit(a);
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

SEC("?fexit/tcp_rtx_synack")
int BPF_PROG(rt_fexit_synack, const struct sock *sk, const struct request_sock *req, int err)
{
	struct attempt a = {.err = err, .probing = false};

	return handle_synack(&a, sk, req);
}

/*
 * Records that tcp_fragment() failed during an attempt, which distinguishes the causes of -ENOMEM
 * (see nomem_site_of()). Calls outside of attempts are ignored.
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

/* Stores the time at which the segment of an attempt was last sent: see struct last_sent. */
static __always_inline int handle_age(const struct attempt *a)
{
	__u64 key = (__u64)a->sk;
	struct last_sent last = {.sk = key, .skb = (__u64)a->skb};

	if (!a->tp)
		return 0;
	last.ns = KREAD(a, a->skb, skb_mstamp_ns);
	last.total_retrans = KREAD(a, a->tp, total_retrans);
	bpf_map_update_elem(&rt_last_sent, &key, &last, BPF_ANY);
	return 0;
}

static __always_inline int handle_age_fentry(const struct sock *sk, const struct sk_buff *skb)
{
	struct attempt a = {
	    .sk = sk, .tp = bpf_skc_to_tcp_sock((void *)sk), .skb = skb, .probing = false};

	return handle_age(&a);
}

SEC("?fentry/tcp_retransmit_skb")
int BPF_PROG(rt_age_outer, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_age_fentry(sk, skb);
}

SEC("?fentry/__tcp_retransmit_skb")
int BPF_PROG(rt_age_inner, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_age_fentry(sk, skb);
}

/*
 * Entry and exit of the functions, with kprobes. At the exit the arguments are no longer
 * available, so the program at the entry stores them. The key is the stack address of the return
 * address. It distinguishes nested calls, and stays valid if the task moves to another CPU. If the
 * kernel skips one exit, the next exit does not use its arguments, as it would with a stack of
 * calls.
 */
struct kprobe_args {
	__u64 sp; /* like the key; detects that the element was reused */
	const struct sock *sk;
	union {
		const struct sk_buff *skb;
		const struct request_sock *req; /* of tcp_rtx_synack() */
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the stack pointer at the entry */
	__type(value, struct kprobe_args);
} rt_kprobe_args SEC(".maps");

/*
 * The architectures whose struct pt_regs is in vmlinux.h. On other architectures user space does
 * not use kprobes.
 */
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)

static __always_inline int handle_kprobe(struct pt_regs *ctx, const struct sock *sk,
					 const struct sk_buff *skb, bool outer)
{
	struct kprobe_args args = {.sp = PT_REGS_SP(ctx), .sk = sk, .skb = skb};
	const struct tcp_sock *tp = (const void *)args.sk;
	const struct attempt a = {.sk = args.sk, .probing = true};
	struct in_flight entry = {.sk = (__u64)sk, .outer = outer};
	__u64 key = PT_REGS_SP(ctx);

	/*
	 * If the arguments cannot be stored, the exit is not handled. So the entry must not be
	 * handled either.
	 */
	if (bpf_map_update_elem(&rt_kprobe_args, &key, &args, BPF_ANY))
		return 0;
	entry.total_retrans = BPF_CORE_READ(tp, total_retrans);
	entry.backlogged = is_backlogged(&a);
	entry.is_first = !BPF_CORE_READ(tp, retrans_stamp);
	attempt_begin(args.sk, &entry);
	return 0;
}

static __always_inline int handle_age_kprobe(const struct sock *sk, const struct sk_buff *skb)
{
	struct attempt a = {.sk = sk, .tp = (const void *)sk, .skb = skb, .probing = true};

	return handle_age(&a);
}

SEC("?kprobe/tcp_retransmit_skb")
int BPF_KPROBE(rt_kp_age_outer, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_age_kprobe(sk, skb);
}

SEC("?kprobe/__tcp_retransmit_skb")
int BPF_KPROBE(rt_kp_age_inner, const struct sock *sk, const struct sk_buff *skb)
{
	return handle_age_kprobe(sk, skb);
}

/* Returns the key of the arguments that were stored at the entry. */
static __always_inline __u64 kprobe_key_at_exit(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	/* The return instruction has removed the return address from the stack. */
	return PT_REGS_SP(ctx) - sizeof(__u64);
#else
	return PT_REGS_SP(ctx);
#endif
}

static __always_inline int handle_kretprobe(struct pt_regs *ctx, int err, bool outer)
{
	__u64 key = kprobe_key_at_exit(ctx);
	struct kprobe_args *args;
	struct attempt a = {.has_err = true, .probing = true};

	args = bpf_map_lookup_elem(&rt_kprobe_args, &key);
	/* The element may have been reused between the lookup and this check. */
	if (!args || args->sp != key)
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

SEC("?kprobe/tcp_rtx_synack")
int BPF_KPROBE(rt_kp_synack, const struct sock *sk, const struct request_sock *req)
{
	struct kprobe_args args = {.sp = PT_REGS_SP(ctx), .sk = sk, .req = req};
	__u64 key = PT_REGS_SP(ctx);

	bpf_map_update_elem(&rt_kprobe_args, &key, &args, BPF_ANY);
	return 0;
}

SEC("?kretprobe/tcp_rtx_synack")
int BPF_KRETPROBE(rt_krp_synack, int err)
{
	__u64 key = kprobe_key_at_exit(ctx);
	struct attempt a = {.err = err, .probing = true};
	const struct request_sock *req;
	const struct kprobe_args *args;
	const struct sock *sk;

	args = bpf_map_lookup_elem(&rt_kprobe_args, &key);
	if (!args || args->sp != key)
		return 0;
	sk = args->sk;
	req = args->req;
	bpf_map_delete_elem(&rt_kprobe_args, &key);
	return handle_synack(&a, sk, req);
}

#else

SEC("?kprobe/tcp_retransmit_skb")
int rt_kp_age_outer(void *ctx)
{
	return 0;
}

SEC("?kprobe/__tcp_retransmit_skb")
int rt_kp_age_inner(void *ctx)
{
	return 0;
}

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

SEC("?kprobe/tcp_rtx_synack")
int rt_kp_synack(void *ctx)
{
	return 0;
}

SEC("?kretprobe/tcp_rtx_synack")
int rt_krp_synack(void *ctx)
{
	return 0;
}

#endif

#endif /* RETRANS_PROBES_BPF_H */
