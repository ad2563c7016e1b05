/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether a record wakes the reader. To wake it takes ten times as long as to write the record, so
 * a reader that comes by itself before long is left alone, until much is waiting.
 */
#ifndef RETRANS_WAKEUP_BPF_H
#define RETRANS_WAKEUP_BPF_H

/* As many bytes waiting wake the reader that is awake. 0: each record does that it had caught up
 * with. */
const volatile __u32 wakeup_bytes = 0;

/* How many are waiting is looked at for one record in so many of a CPU: a power of two. */
const volatile __u32 wakeup_interval = 1;

/* One element. Memory-mapped, for the reader may have given up its privileges. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct retrans_reader);
} reader SEC(".maps");

/* For bpf_ringbuf_submit() of a record that was reserved before, and is the CPU's so-manieth. */
static __always_inline __u64 wakeup_of(void *ring, __u64 number)
{
	struct retrans_reader *r;
	__u32 zero = 0;

	if (!wakeup_bytes)
		return 0;
	r = bpf_map_lookup_elem(&reader, &zero);
	/* Without a flag: a wake-up if the reader had caught up, so that the first one wakes it. */
	if (!r || !*(volatile __u64 *)&r->awake)
		return 0;
	if (number & (wakeup_interval - 1))
		return BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < wakeup_bytes ||
	    *(volatile __u64 *)&r->woken)
		return BPF_RB_NO_WAKEUP;
	/* Several CPUs may come here at once: then it is woken as often. */
	*(volatile __u64 *)&r->woken = 1;
	return BPF_RB_FORCE_WAKEUP;
}

#endif /* RETRANS_WAKEUP_BPF_H */
