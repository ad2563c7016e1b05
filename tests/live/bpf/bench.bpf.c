// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs that the bench `kernel` measures with, and an empty one to compare with. A
 * tracepoint calls its probes in the order of their registration: everything that is attached after
 * `before` and before `after` runs between them.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* The same values as in tests/live/benches/kernel/sandwich.rs. */
#define BUCKETS	  (1 << 14)
#define BUCKET_NS 4

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The attempt between the two programs on a CPU. */
struct begun {
	__u64 sk;
	/* CLOCK_MONOTONIC, ns. */
	__u64 at;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct begun);
} begun SEC(".maps");

struct spent {
	__u64 count;
	__u64 sum_ns;
	/* Another attempt began on the CPU in between, or one of the two did not run. */
	__u64 discarded;
	/* A histogram in units of BUCKET_NS; the last bucket contains all longer times. */
	__u32 buckets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spent);
} spent SEC(".maps");

/* The minimal program. */
SEC("tp_btf/tcp_retransmit_skb")
int empty(__u64 *ctx)
{
	return 0;
}

/* The same for dropped packets. */
SEC("tp_btf/kfree_skb")
int empty_drop(__u64 *ctx)
{
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int before(__u64 *ctx)
{
	__u32 zero = 0;
	struct begun *b = bpf_map_lookup_elem(&begun, &zero);

	if (!b)
		return 0;
	b->sk = ctx[0];
	/* Last, to exclude this program's own time. */
	b->at = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int after(__u64 *ctx)
{
	/* First, to exclude this program's own time. */
	__u64 now = bpf_ktime_get_ns();
	__u32 zero = 0;
	struct begun *b = bpf_map_lookup_elem(&begun, &zero);
	struct spent *s = bpf_map_lookup_elem(&spent, &zero);
	__u64 ns, bucket;

	if (!b || !s)
		return 0;
	if (b->sk != ctx[0]) {
		__sync_fetch_and_add(&s->discarded, 1);
		return 0;
	}
	b->sk = 0;
	ns = now - b->at;
	bucket = ns / BUCKET_NS;
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	__sync_fetch_and_add(&s->count, 1);
	__sync_fetch_and_add(&s->sum_ns, ns);
	__sync_fetch_and_add(&s->buckets[bucket], 1);
	return 0;
}
