/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One element a CPU. The adds are atomic all the same: a softirq may run one of these programs
 * inside the other on the same CPU. Memory-mapped, so that user space reads without a system call.
 */
#ifndef RETRANS_COUNTERS_BPF_H
#define RETRANS_COUNTERS_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set to the number of possible CPUs at open */
	__type(key, __u32);
	__type(value, struct retrans_counters);
} counters SEC(".maps");

/* How many elements there are. */
const volatile __u32 cpus = 1;

static __always_inline struct retrans_counters *my_counters(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	/* Numbers of CPUs may have gaps. Two that share an element do no harm: the adds are atomic.
	 */
	if (cpu >= cpus)
		cpu %= cpus;
	return bpf_map_lookup_elem(&counters, &cpu);
}

static __always_inline void count(__u64 *counter, __u64 by)
{
	__sync_fetch_and_add(counter, by);
}

static __always_inline void count_attempt(struct retrans_counters *c, const struct attempt *a)
{
	__u64 slot = result_slot(a->result);
	__u64 kind = a->kind;
	__u64 transmit = a->transmit;
	struct retrans_count *of;

	/*
	 * All are in range already, and clang knows: behind the barrier it cannot drop the masks,
	 * which the verifier wants to see.
	 */
	barrier_var(slot);
	barrier_var(kind);
	barrier_var(transmit);
	slot &= RETRANS_RESULT_SLOTS - 1;
	kind &= RETRANS_KIND_SLOTS - 1;
	of = &c->counts[slot][kind];
	count(&of->attempts, 1);
	count(&of->segs, a->segs);
	of = &c->transmits[transmit & (RETRANS_TRANSMIT_SLOTS - 1)];
	count(&of->attempts, 1);
	count(&of->segs, a->segs);
}

#endif /* RETRANS_COUNTERS_BPF_H */
