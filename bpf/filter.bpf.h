/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The terms that are decided here: result and class (both a set of result slots), family, sport and
 * dport. What user space decides is let through. The filter is read-only data: the verifier knows
 * it and removes what it does not use.
 */
#ifndef RETRANS_FILTER_BPF_H
#define RETRANS_FILTER_BPF_H

const volatile struct retrans_filter filter;

/* Without a branch on the port, so that the verifier walks one path however many ranges there are.
 */
static __always_inline __u64 ports_hold(const volatile struct retrans_ports *ports, __u64 port)
{
	__u64 hold = 0;

	for (__u32 i = 0; i < RETRANS_MAX_RANGES; i++) {
		__u64 low, high;

		if (i >= ports->used)
			break;
		low = ports->ranges[i].low;
		high = ports->ranges[i].high;
		/* The sign of either difference says "outside". */
		hold |= ~((port - low) | (high - port)) >> 63;
	}
	return hold;
}

static __always_inline bool filter_passes(const struct attempt *a)
{
	__u32 result = 1u << (result_slot(a->result) & 31);
	__u32 family = LOAD(a->skc, skc_family) == AF_INET || is_mapped(a) ? 1 : 2;
	__u16 sport = LOAD(a->skc, skc_num);
	__u16 dport = bpf_ntohs(LOAD(a->skc, skc_dport));

	if (!filter.used)
		return true;
	for (__u32 i = 0; i < RETRANS_MAX_CLAUSES; i++) {
		const volatile struct retrans_clause *clause = &filter.clauses[i];

		if (i >= filter.used)
			break;
		if (clause->results & result && clause->families & family &&
		    ports_hold(&clause->sport, sport) && ports_hold(&clause->dport, dport))
			return true;
	}
	return false;
}

#endif /* RETRANS_FILTER_BPF_H */
