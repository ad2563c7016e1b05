// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The programs: one a tracepoint, both ending in observe(). */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "attempt.bpf.h"
#include "result.bpf.h"
#include "kind.bpf.h"
#include "counters.bpf.h"
#include "filter.bpf.h"
#include "record.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* bytes; set at open */
} events SEC(".maps");

/* Whether the tracepoint has its third argument, `int err`: user space reads it in BTF. */
const volatile bool has_err = true;

/*
 * Types are in the object's BTF, and in the generated skeleton, only if a global uses them: the
 * enums are checked against the Rust tables there, the record against retrans-sdk/src/wire.rs.
 */
const volatile enum tcp_retransmit_quit_reason btf_quit_reason = TCP_RETRANS_ERR_DEFAULT;
const volatile enum retrans_own_result btf_own_result = RETRANS_OWN_NOMEM;
const volatile enum retrans_kind btf_kind = RETRANS_KIND_UNKNOWN;
const volatile enum retrans_field btf_field = RETRANS_FIELD_ERR;
const struct retrans_record *const volatile btf_record = 0;

/* Each attempt is seen once and ends as exactly one of filtered, lost and submitted. */
static __always_inline int observe(const struct attempt *a, struct retrans_counters *c,
				   __u64 cookie)
{
	struct retrans_record *record;
	bool inet = a->skc->skc_family == AF_INET || is_mapped(a->skc);

	count(&c->seen, 1);
	count_attempt(c, a);

	if (!filter_passes(a, inet, a->skc->skc_num, bpf_ntohs(a->skc->skc_dport))) {
		count(&c->filtered, 1);
		return 0;
	}
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count(&c->lost, 1);
		return 0;
	}
	put_record(record, a, cookie);
	/* Before the reader can have it: what is read is never more than what was submitted. */
	count(&c->submitted, 1);
	/* Without a flag: a wake-up only when the reader had caught up. */
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int retransmit_skb(__u64 *ctx)
{
	const struct sock *sk = (const void *)ctx[0];
	const struct sk_buff *skb = (const void *)ctx[1];
	struct retrans_counters *c = my_counters();
	struct attempt a = {
	    .skc = &sk->__sk_common,
	    .sk = sk,
	    .tp = bpf_skc_to_tcp_sock((void *)sk),
	    .skb = skb,
	};

	/* Neither happens: the tracepoint's socket is a full TCP socket, the element exists. */
	if (!c || !a.tp)
		return 0;
	/* Without the argument the tracepoint fires for successes only. */
	a.err = has_err ? (__s32)ctx[2] : 0;
	a.state = sk->__sk_common.skc_state;
	a.ca_state = BPF_CORE_READ_BITFIELD(&a.tp->inet_conn, icsk_ca_state);
	read_segment(&a);
	a.result = result_of(&a);
	a.kind = kind_of(&a);
	return observe(&a, c, cookie_of(a.skc));
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
	/* By the request, not by the state of sk: a listener may be closing. */
	bool child = BPF_CORE_READ((const struct tcp_request_sock *)req, tfo_listener);
	struct retrans_counters *c = my_counters();
	struct attempt a = {
	    .skc = child ? &sk->__sk_common : &req->__req_common,
	    .sk = sk,
	    .segs = 1,
	    .result = TCP_RETRANS_SUCCESS,
	    .kind = RETRANS_KIND_SYNACK,
	};

	if (!c)
		return 0;
	a.state = a.skc->skc_state;
	/* The request's cookie is the one that the accepted socket inherits. */
	return observe(&a, c, cookie_of(a.skc));
}
