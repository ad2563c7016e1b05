/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A token bucket per result, for what the filter lets through; none unless set. Instead of tokens
 * it keeps the time at which the bucket will be full again: nothing has to be filled in between.
 *
 * CPUs that are in here for the same result at the same moment may share a token, since the
 * machines that have to be served lack an atomic exchange; what is counted is exact.
 */
#ifndef RETRANS_LIMIT_BPF_H
#define RETRANS_LIMIT_BPF_H

/* How long a token takes to come, in nanoseconds; 0: no limit. */
const volatile __u64 limit_interval = 0;
/* How long it takes an empty bucket to be full. */
const volatile __u64 limit_burst = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RETRANS_RESULT_SLOTS);
	__type(key, __u32);
	__type(value, __u64); /* CLOCK_BOOTTIME, ns */
} full_at SEC(".maps");

static __always_inline bool limit_passes(const struct attempt *a)
{
	__u32 slot = result_slot(a->result);
	__u64 *full = bpf_map_lookup_elem(&full_at, &slot);
	__u64 then;

	/* It is there. */
	if (!full)
		return true;
	then = *full;
	if (then < a->ts)
		then = a->ts;
	then += limit_interval;
	if (then - a->ts > limit_burst)
		return false;
	*full = then;
	return true;
}

#endif /* RETRANS_LIMIT_BPF_H */
