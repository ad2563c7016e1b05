/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The last part of every program: classifies an attempt, counts it, applies the filter and the rate
 * limit, and writes the record to the ring buffer.
 *
 * A record ends after the last requested field. A field has the same offset in every record, so
 * there is only one layout. The requested fields are read-only data, so the verifier removes the
 * code of all others.
 */
#ifndef RETRANS_OUTPUT_BPF_H
#define RETRANS_OUTPUT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "address.bpf.h"
#include "attempt.bpf.h"
#include "classify.bpf.h"
#include "drops.bpf.h"
#include "filter.bpf.h"
#include "groups.bpf.h"
#include "kread.bpf.h"
#include "owners.bpf.h"
#include "stats.bpf.h"
#include "verdict.bpf.h"
#include "wakeup.bpf.h"

/*
 * The rate limit: a token bucket for each result, applied after the filter. It is off unless it is
 * set. Instead of tokens, each bucket stores the time at which it will be full again, so it needs
 * no refill.
 *
 * If several CPUs check the same result at the same moment, they may use the same token. This is
 * accepted, because BPF programs have an atomic exchange only since v5.12, and kprobes may not use
 * a spin lock. The counters are exact nevertheless.
 */

/* The time between two tokens in nanoseconds; 0: no limit. */
const volatile __u64 limit_interval = 0;
/* The time in which an empty bucket becomes full, in nanoseconds. */
const volatile __u64 limit_burst = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RETRANS_RESULT_SLOTS);
	__type(key, __u32);
	__type(value, __u64); /* CLOCK_BOOTTIME, ns */
} rt_rate_limit SEC(".maps");

static __always_inline bool rate_limit_passes(const struct attempt *a)
{
	__u32 slot = result_slot(a->result);
	__u64 *full_at = bpf_map_lookup_elem(&rt_rate_limit, &slot);
	__u64 next;

	/* Cannot fail; the verifier requires the check. */
	if (!full_at)
		return true;
	next = *full_at;
	if (next < a->ts)
		next = a->ts;
	next += limit_interval;
	if (next - a->ts > limit_burst)
		return false;
	*full_at = next;
	return true;
}

/* The size of a record: record_length, and the owner if owners are requested. */
const volatile __u32 record_size = RETRANS_DEFAULT_LENGTH;
/* True if owners are requested. Otherwise records have no room for them, and there is no lookup. */
const volatile bool with_owners = false;

/* The macros below use variables of put_record(): the record `r`, `fields` and `length`. */
#define IS_REQUESTED(name) (fields & 1ull << RETRANS_FIELD_##name)
#define HAS_ROOM(member)   (__builtin_offsetof(struct retrans_record, member) < length)

#define PUT(name, member, number, offset, value) r->member = (value);
/* Writes every byte that the record has room for, because all of them reach user space. */
#define PUT_REQUESTED(name, member, number, offset, value)                                         \
	if (IS_REQUESTED(name))                                                                    \
		r->member = (value);                                                               \
	else if (HAS_ROOM(member))                                                                 \
		r->member = 0;
#define PUT_ID(name, member, number, offset, value)                                                \
	PUT_REQUESTED(name, member, number, offset, value)                                         \
	if (IS_REQUESTED(name) && r->member)                                                       \
		present |= 1ull << RETRANS_FIELD_##name;
#define PUT_ZERO(name, member, number, offset, value)                                              \
	if (HAS_ROOM(member))                                                                      \
		r->member = 0;
#define PUT_ZERO_NAME(name, member, number, offset, read)                                          \
	if (HAS_ROOM(member)) {                                                                    \
		((__u64 *)r->member)[0] = 0;                                                       \
		((__u64 *)r->member)[1] = 0;                                                       \
	}
#define PUT_NAME(name, member, number, offset, read)                                               \
	if (IS_REQUESTED(name))                                                                    \
		read(a, r->member);

static __always_inline void put_addresses(struct retrans_record *r, const struct attempt *a)
{
	struct endpoints ends = endpoints_of(a);

	r->family = ends.family;
	__builtin_memcpy(r->saddr, ends.saddr.words, sizeof(r->saddr));
	__builtin_memcpy(r->daddr, ends.daddr.words, sizeof(r->daddr));
}

/* Requires a record with room for the owner in which all fields except the owner are set. */
static __always_inline void put_owner(struct retrans_record *r, const struct attempt *a)
{
	struct retrans_owner *to = (void *)r + record_length;
	__u64 cookie = cookie_of(a);
	const struct owner *owner = bpf_map_lookup_elem(&rt_owners, &cookie);
	const struct owner *last_scan;

	r->header.owner_at = record_length;
	__builtin_memset(to, 0, sizeof(*to));
	if (!cookie || !owner || !owner->process.pid)
		return;
	/*
	 * The result of a file-descriptor scan is final only after the end of the scan: see
	 * NO_COOKIE.
	 */
	if (owner->process.source == RETRANS_OWNER_HOLDER) {
		__u64 no_cookie = NO_COOKIE;

		last_scan = bpf_map_lookup_elem(&rt_owners, &no_cookie);
		if (!last_scan || last_scan->scan < owner->scan)
			return;
	}
	*to = owner->process;
	/* During the copy the element may have been evicted and reused for another socket. */
	barrier();
	if (owner->cookie == cookie)
		r->header.present |= 1ull << RETRANS_FIELD_OWNER;
	else
		__builtin_memset(to, 0, sizeof(*to));
}

#define PUT_MAYBE(name, member, number, offset, value)                                             \
	PUT_REQUESTED(name, member, number, offset, value)                                         \
	if (IS_REQUESTED(name) && r->member != (__typeof__(r->member))~0ull)                       \
		present |= 1ull << RETRANS_FIELD_##name;

/* Writes the extended fields, and returns the presence bits of those that have a value. */
static __always_inline __u64 put_extended(struct retrans_record *r, const struct attempt *a)
{
	__u64 fields = record_fields;
	__u32 length = record_length;
	__u64 present = 0;

	if (HAS_ROOM(extended_zero)) {
		r->extended_zero[0] = 0;
		*(__u32 *)(r->extended_zero + 1) = 0;
	}
	if (!a->tp) {
		EXTENDED_FIELDS(PUT_ZERO, a)
		EXTENDED_MAYBE_FIELDS(PUT_ZERO, a)
		return 0;
	}
	present = fields & (0 EXTENDED_FIELDS(FIELD_BIT, a));
	EXTENDED_FIELDS(PUT_REQUESTED, a)
	EXTENDED_MAYBE_FIELDS(PUT_MAYBE, a)
	return present;
}

/*
 * The same in a stack frame of its own, because the programs have little room left. The arguments
 * are the values of the attempt and not its address: otherwise clang would keep every attempt in
 * memory, and not know its constants.
 */
static __noinline __u64 put_extended_typed(struct retrans_record *r, const struct tcp_sock *tp,
					   const struct sk_buff *skb, __u32 segs, __u8 transmit)
{
	struct attempt a = {
	    .skc = (const void *)tp,
	    .sk = (const void *)tp,
	    .tp = tp,
	    .skb = skb,
	    .segs = segs,
	    .transmit = transmit,
	    .probing = false,
	};

	return put_extended(r, &a);
}

static __noinline __u64 put_extended_probing(struct retrans_record *r, const struct tcp_sock *tp,
					     const struct sk_buff *skb, __u32 segs, __u8 transmit)
{
	struct attempt a = {
	    .skc = (const void *)tp,
	    .sk = (const void *)tp,
	    .tp = tp,
	    .skb = skb,
	    .segs = segs,
	    .transmit = transmit,
	    .probing = true,
	};

	return put_extended(r, &a);
}

static __always_inline void put_record(struct retrans_record *r, const struct attempt *a)
{
	/* Both are volatile, so each is read only once. */
	__u64 fields = record_fields;
	__u32 length = record_length;
	__u64 present = fields & (0 SOCKET_FIELDS(FIELD_BIT, a));

	r->header.length = record_size;
	r->header.version = RETRANS_RECORD_VERSION;
	r->header.owner_at = 0;

	r->ts = a->ts;
	r->err = a->has_err ? a->err : 0;
	if (a->has_err)
		present |= 1ull << RETRANS_FIELD_ERR;
	put_addresses(r, a);
	CONNECTION_FIELDS(PUT, a)
	SOCKET_FIELDS(PUT_REQUESTED, a)
	ID_FIELDS(PUT_ID, a)
	if (HAS_ROOM(zero))
		*(__u16 *)r->zero = 0;
	/* A comparison of two constants, which the verifier removes unless a field is requested. */
	if (length > RETRANS_DEFAULT_LENGTH)
		present |= put_path(r, a->tp, (__u64)a->seq << 32 | (__u32)(a->end_seq - a->seq));
	NAME_FIELDS(PUT_ZERO_NAME, a)
	if (a->tp) {
		TCP_FIELDS(PUT_REQUESTED, a)
		NAME_FIELDS(PUT_NAME, a)
		present |= fields & FULL_SOCKET_FIELDS;
	} else {
		TCP_FIELDS(PUT_ZERO, a)
	}
	if (length > RETRANS_PATH_LENGTH)
		present |= a->probing ? put_extended_probing(r, a->tp, a->skb, a->segs, a->transmit)
				      : put_extended_typed(r, a->tp, a->skb, a->segs, a->transmit);
	r->header.present = present;
	if (with_owners)
		put_owner(r, a);
}

/* What is done with attempts that pass the filter. */
enum output_mode {
	OUTPUT_EVENTS = 0,
	/* There is no ring buffer. Attempts are only counted and filtered. */
	OUTPUT_COUNTERS = 1,
	/* Their connections are tracked as well, for verdicts: see verdict.bpf.h. */
	OUTPUT_VERDICTS = 2,
};

/* One constant for all modes: its value 0 leaves no instruction but the load. */
const volatile __u8 output_mode = OUTPUT_EVENTS;

static __always_inline void hide_constants(struct attempt *a)
{
	a->result = hidden(a->result);
	a->err = hidden(a->err);
	a->transmit = hidden(a->transmit);
	a->state = hidden(a->state);
	a->ca_state = hidden(a->ca_state);
	a->retrans_out_added = hidden(a->retrans_out_added);
}

/*
 * Counts an attempt as seen, and then as filtered, limited, lost or submitted. Without a ring
 * buffer, an attempt is counted as seen, and as passed if there is a filter and it passes, and
 * then nothing else.
 */
static __always_inline int emit(struct attempt *a)
{
	struct retrans_counters *c = counters_of_cpu();
	struct retrans_record *record;
	__u8 mode;

	/* Cannot fail; the verifier requires the check. */
	if (!c)
		return 0;
	count(&c->seen, 1);
	count_attempt(c, a);
	count_netns(c, a);

	if (filter.ts_used || limit_interval)
		a->ts = bpf_ktime_get_boot_ns();
	if (filter.used)
		hide_constants(a);
	if (!filter_passes(a)) {
		count(&c->filtered, 1);
		return 0;
	}
	if (filter.used)
		count_passed(a);
	if (group_by)
		count_group(a);
	mode = output_mode;
	if (mode == OUTPUT_COUNTERS)
		return 0;
	if (mode == OUTPUT_VERDICTS && a->tp)
		track_attempt(a);
	if (limit_interval && !rate_limit_passes(a)) {
		count(&c->limited, 1);
		return 0;
	}
	if (!a->ts)
		a->ts = bpf_ktime_get_boot_ns();
	/* Without the barrier clang duplicates all of the following code. */
	barrier_var(a->ts);
	record = bpf_ringbuf_reserve(&rt_events, record_size, 0);
	if (!record) {
		count(&c->lost, 1);
		return 0;
	}
	put_record(record, a);
	/*
	 * Counted before the reader can see the record, so that the reader never finds more records
	 * than were counted as submitted.
	 */
	count(&c->submitted, 1);
	bpf_ringbuf_submit(record, wakeup_flags(&rt_events, *(volatile __u64 *)&c->submitted));
	return 0;
}

/* Requires an attempt of a full socket, and its result. */
static __always_inline int emit_with_result(struct attempt *a)
{
	/* Cannot fail: the socket of the tracepoint and of the functions is a full TCP socket. */
	if (!a->tp)
		return 0;
	attempt_read_segment(a);
	attempt_read_socket(a);
	a->kind = kind_of(a);
	a->transmit = transmit_of_result(a);
	return emit(a);
}

/*
 * Requires an attempt and its errno. `f` is the state of the attempt in flight if an exit program
 * reports the attempt, else NULL.
 */
static __always_inline int emit_with_errno(struct attempt *a, const struct in_flight *f)
{
	if (!a->tp)
		return 0;
	attempt_read_segment(a);
	attempt_read_socket(a);
	a->kind = kind_of(a);
	if (!a->transmit)
		a->transmit = transmit_of_errno(a);
	a->result = f && f->has_result ? refine_result(a, f->result) : result_of(a);
	if (!a->transmit)
		a->transmit = transmit_of_result(a);
	a->result = hidden(a->result);
	a->transmit = hidden(a->transmit);
	return emit(a);
}

/*
 * Handles the exit of the outer or the inner function (see struct in_flight). The attempt is
 * reported at one of the two exits only.
 */
static __always_inline int handle_exit(struct attempt *a, bool outer)
{
	struct in_flight *f = attempt_lookup(a->sk);

	/* The entry was not seen, so the tracepoint has reported the attempt. */
	if (!f)
		return 0;
	if (!outer || !f->reported) {
		a->entry_seen = true;
		a->was_backlogged = f->backlogged;
		a->is_first = f->is_first;
		if (a->tp)
			a->transmit = transmit_since(a, f);
		if (a->tp && a->err == -ENOMEM)
			a->site = nomem_site_of(a, f);
		if (outer && !a->err) {
			const struct tcp_skb_cb *cb = (const void *)a->skb->cb;

			a->retrans_out_added = KREAD(a, cb, tcp_gso_segs);
		}
		emit_with_errno(a, f);
	}
	if (f->outer && !outer)
		f->reported = true;
	else
		attempt_end(a->sk);
	return 0;
}

#endif /* RETRANS_OUTPUT_BPF_H */
