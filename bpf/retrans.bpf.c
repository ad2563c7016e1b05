// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs. Whichever is the source, it fills a struct attempt and ends in observe(); user
 * space loads those of one source, and of what can be added to it.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "attempt.bpf.h"
#include "underway.bpf.h"
#include "result.bpf.h"
#include "kind.bpf.h"
#include "transmit.bpf.h"
#include "counters.bpf.h"
#include "address.bpf.h"
#include "fields.bpf.h"
#include "read.bpf.h"
#include "owners.bpf.h"
#include "sums.bpf.h"
#include "record.bpf.h"
#include "facts.bpf.h"
#include "filter.bpf.h"
#include "limit.bpf.h"
#include "wakeup.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* bytes; set at open */
} events SEC(".maps");

/* No record is made, and there is no ring: each attempt is counted, and as filtered. */
const volatile bool counters_only = false;

/* Whether the functions' exits are attached to, which then tell of each attempt. */
const volatile bool with_exit = false;

/*
 * Types are in the object's BTF, and in the generated skeleton, only if a global uses them: the
 * enums are checked against the Rust tables there, the record against retrans-sdk/src/wire.rs.
 */
const volatile enum tcp_retransmit_quit_reason btf_quit_reason = TCP_RETRANS_ERR_DEFAULT;
const volatile enum retrans_own_result btf_own_result = RETRANS_OWN_NOMEM;
const volatile enum retrans_kind btf_kind = RETRANS_KIND_UNKNOWN;
const volatile enum retrans_transmit btf_transmit = RETRANS_TRANSMIT_UNKNOWN;
const volatile enum retrans_field btf_field = RETRANS_FIELD_ERR;
const volatile enum retrans_fact btf_fact = RETRANS_FACT_TS;
const struct retrans_record *const volatile btf_record = 0;
const struct retrans_owned_record *const volatile btf_owned_record = 0;
const volatile enum retrans_owner_source btf_owner_source = RETRANS_OWNER_CONNECT;

/* Always 0, and the verifier cannot know. */
__u64 nothing = 0;

/*
 * An attempt is named in many ways, each with other numbers. Up to v6.1 a verifier that knows them
 * would walk the filter once for each.
 */
static __always_inline void make_unknown(struct attempt *a)
{
	__u64 unknown = *(volatile __u64 *)&nothing;

	a->result += unknown;
	a->err += unknown;
	a->kind += unknown;
	a->transmit += unknown;
	a->state += unknown;
	a->ca_state += unknown;
	a->retrans_out_added += unknown;
}

/* Each attempt is seen once and ends as exactly one of filtered, limited, lost and submitted. */
static __always_inline int observe(struct attempt *a)
{
	struct retrans_counters *c = my_counters();
	struct retrans_record *record;

	/* It exists. */
	if (!c)
		return 0;
	count(&c->seen, 1);
	count_attempt(c, a);
	sum_attempt(c, a);

	if (counters_only) {
		count(&c->filtered, 1);
		return 0;
	}
	if (filter.ts_used || limit_interval)
		a->ts = bpf_ktime_get_boot_ns();
	if (filter.used)
		make_unknown(a);
	if (!filter_passes(a)) {
		count(&c->filtered, 1);
		return 0;
	}
	if (limit_interval && !limit_passes(a)) {
		count(&c->limited, 1);
		return 0;
	}
	if (!a->ts)
		a->ts = bpf_ktime_get_boot_ns();
	/* Or clang has all that follows twice, for each of the two. */
	barrier_var(a->ts);
	record = bpf_ringbuf_reserve(&events, record_size(), 0);
	if (!record) {
		count(&c->lost, 1);
		return 0;
	}
	put_record(record, a);
	/* Before the reader can have it: what is read is never more than what was submitted. */
	count(&c->submitted, 1);
	bpf_ringbuf_submit(record, wakeup_of(&events, *(volatile __u64 *)&c->submitted));
	return 0;
}

/* Of a full socket, with its result. */
static __always_inline int tell(struct attempt *a)
{
	/* The tracepoint's and the functions' socket is a full TCP socket. */
	if (!a->tp)
		return 0;
	read_segment(a);
	read_socket(a);
	a->kind = kind_of(a);
	a->transmit = transmit_of(a);
	remember_held(a);
	return observe(a);
}

/* With an errno, and `u` where more than that may be known. */
static __always_inline int name_and_tell(struct attempt *a, const struct underway *u)
{
	if (!a->tp)
		return 0;
	read_segment(a);
	read_socket(a);
	a->kind = kind_of(a);
	a->result = u && u->has_result ? refined(a, u->result) : result_of(a);
	if (!a->transmit)
		a->transmit = transmit_of(a);
	remember_held(a);
	return observe(a);
}

/* The exit of one of the two functions: one of them tells. */
static __always_inline int returned(struct attempt *a, bool outer)
{
	struct underway *u = underway_of(a->sk);

	/* Its entry was not seen: what there is to tell, the tracepoint did. */
	if (!u)
		return 0;
	if (!outer || !u->told) {
		a->entered = true;
		a->was_backlogged = u->backlogged;
		if (a->tp)
			a->transmit = transmit_since(a, u);
		if (a->tp && a->err == -ENOMEM)
			a->site = site_of(a, u);
		if (outer && !a->err) {
			const struct tcp_skb_cb *cb = (const void *)a->skb->cb;

			a->retrans_out_added = LOAD(cb, tcp_gso_segs);
		}
		name_and_tell(a, u);
	}
	if (u->outer && !outer)
		u->told = true;
	else
		forget(a->sk);
	return 0;
}

#include "tracepoint.bpf.h"
#include "fexit.bpf.h"
#include "sites.bpf.h"
#include "kretprobe.bpf.h"
