// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Runs the filter code of the BPF programs on records of a test. A tracing program has no test run;
 * a syscall program does. Requires Linux 5.17 for bpf_loop().
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "address.bpf.h"

#define SUBJECTS 100

/* The same layout as in tests/live/tests/filter_harness.rs. */
struct harness_subject {
	struct retrans_record record;
	/* From the root to the socket's own; `levels` of them. */
	__u64 cgroups[RETRANS_MAX_CGROUP_LEVELS];
	__u32 levels;
	__u32 own_socket;
	/* The result of the filter. */
	__u64 passed;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SUBJECTS);
	__type(key, __u32);
	__type(value, struct harness_subject);
} subjects SEC(".maps");

/* The interface of filter_input.bpf.h, for a record. */
#define FILTER_INPUT_DEFINED

typedef const struct harness_subject *filter_input;

#define INPUT_VALUE(a, field, expression) ((a)->record.field)
#define INPUT_HAS(a, name)		  has(a, RETRANS_FIELD_##name)
#define INPUT_COPY_POINTERS(a)		  barrier_var(a)

static __always_inline __u64 has(filter_input a, enum retrans_field field)
{
	return a->record.header.present >> field & 1;
}

static __always_inline __u64 input_ts(filter_input a)
{
	return a->record.ts;
}

static __always_inline __u64 input_has_err(filter_input a)
{
	return has(a, RETRANS_FIELD_ERR);
}

static __always_inline bool input_has_socket(filter_input a)
{
	return true;
}

static __always_inline bool input_is_own_socket(filter_input a, __u64 cookie)
{
	return a->own_socket;
}

static __always_inline bool input_cgroup_at(filter_input a, __u32 level, __u64 *id)
{
	if (level >= a->levels)
		return false;
	*id = a->cgroups[level];
	return true;
}

static __always_inline struct endpoints input_endpoints(filter_input a)
{
	struct endpoints ends = {.family = a->record.family};

	__builtin_memcpy(ends.saddr.words, a->record.saddr, sizeof(a->record.saddr));
	__builtin_memcpy(ends.daddr.words, a->record.daddr, sizeof(a->record.daddr));
	return ends;
}

static __always_inline void read_ca_name(filter_input a, __u8 to[16])
{
	__builtin_memcpy(to, a->record.ca_name, sizeof(a->record.ca_name));
}

#include "filter.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static long judge(__u32 index, void *unused)
{
	struct harness_subject *one = bpf_map_lookup_elem(&subjects, &index);

	if (one)
		one->passed = filter_passes(one);
	return 0;
}

SEC("syscall")
int judge_all(void *unused)
{
	return bpf_loop(SUBJECTS, judge, 0, 0);
}
