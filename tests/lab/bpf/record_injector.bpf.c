// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Writes records without a retransmission to a stream's ring buffer, which replaces the map below,
 * with the wake-up code of the stream's programs, at any rate. Requires Linux 5.17 for bpf_loop().
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "wakeup.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} rt_events SEC(".maps");

/*
 * The record, with the default fields. The program sets two fields in each copy: the cookie, which
 * is the record's number, and the timestamp.
 */
const volatile __u64 record[RETRANS_DEFAULT_LENGTH / sizeof(__u64)] = {};

/* True if each record gets a timestamp. */
const volatile bool timed = false;

/* The same layout as in tests/lab/src/record_injector.rs. */
struct order {
	__u64 first; /* number */
	__u64 count;
	__u64 lost;
};

static long inject_one(__u32 index, void *context)
{
	struct order *order = *(struct order **)context;
	struct retrans_record *r = bpf_ringbuf_reserve(&rt_events, sizeof(record), 0);

	if (!r) {
		order->lost++;
		return 0;
	}
#pragma unroll
	for (__u32 i = 0; i < sizeof(record) / sizeof(__u64); i++)
		((__u64 *)r)[i] = record[i];
	r->cookie = order->first + index;
	if (timed)
		r->ts = bpf_ktime_get_boot_ns();
	bpf_ringbuf_submit(r, wakeup_flags(&rt_events, order->first + index));
	return 0;
}

SEC("syscall")
int inject(struct order *order)
{
	return bpf_loop(order->count, inject_one, &order, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
