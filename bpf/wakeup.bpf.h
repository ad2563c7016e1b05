/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Decides whether a record wakes the reader. A wake-up costs ten times as much as writing the
 * record, so a reader that polls by timer is woken only when much data is waiting.
 *
 * Each CPU checks the number of waiting bytes at every 16th of its records (more often with a small
 * ring buffer). The reader is not woken again before it has emptied the ring buffer. See also
 * retrans-sdk/src/kernel/wakeup.rs.
 */
#ifndef RETRANS_WAKEUP_BPF_H
#define RETRANS_WAKEUP_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"

/*
 * The number of waiting bytes at which a polling reader is woken. With 0, a record wakes the reader
 * whenever the reader had emptied the ring buffer.
 */
const volatile __u32 wakeup_bytes = 0;

/* The waiting bytes are checked for every Nth record of a CPU. N is a power of two. */
const volatile __u32 wakeup_interval = 1;

/*
 * One element. The map is memory-mapped, because a reader that has dropped its privileges may not
 * change it by a system call.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct retrans_reader);
} rt_reader SEC(".maps");

/* Returns the submit flags for this CPU's `number`-th record, which is already reserved. */
static __always_inline __u64 wakeup_flags(void *ring, __u64 number)
{
	struct retrans_reader *r;
	__u32 zero = 0;

	if (!wakeup_bytes)
		return 0;
	r = bpf_map_lookup_elem(&rt_reader, &zero);
	/* Without flags the kernel wakes the reader if it had emptied the ring buffer. */
	if (!r || !*(volatile __u64 *)&r->awake)
		return 0;
	if (number & (wakeup_interval - 1))
		return BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < wakeup_bytes ||
	    *(volatile __u64 *)&r->woken)
		return BPF_RB_NO_WAKEUP;
	/* Several CPUs may reach this point at once. Then each of them wakes the reader. */
	*(volatile __u64 *)&r->woken = 1;
	return BPF_RB_FORCE_WAKEUP;
}

#endif /* RETRANS_WAKEUP_BPF_H */
