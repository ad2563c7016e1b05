// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The filter of the BPF programs, compiled for this machine, for the fuzz target
 * `filter_compiled`. The input is a record, as in tests/live/bpf/filter_harness.bpf.c. In user
 * space a comparison needs no system call, so the fuzzer makes millions of them.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "address.bpf.h"

/* The same layout as in tests/fuzz/src/filter_compiled.rs. */
struct native_subject {
	struct retrans_record record;
	/* From the root to the socket's own; `levels` of them. */
	__u64 cgroups[RETRANS_MAX_CGROUP_LEVELS];
	__u32 levels;
	__u32 own_socket;
};

/* The interface of filter_input.bpf.h, for a record. */
#define FILTER_INPUT_DEFINED

typedef const struct native_subject *filter_input;

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

/* The filter is read-only in a BPF program. Here each call replaces it. */
#define const
#include "filter.bpf.h"
#undef const

_Static_assert(sizeof(struct native_subject) ==
		   sizeof(struct retrans_record) + 8 * RETRANS_MAX_CGROUP_LEVELS + 8,
	       "no padding");

/* Returns the sizes of both arguments of retrans_filter_passes(). */
unsigned long retrans_filter_size(void)
{
	return sizeof(struct retrans_filter);
}

unsigned long retrans_subject_size(void)
{
	return sizeof(struct native_subject);
}

/* Not for several threads at the same time. */
int retrans_filter_passes(const void *chosen, const void *subject)
{
	__builtin_memcpy((void *)&filter, chosen, sizeof(filter));
	return filter_passes((filter_input)subject);
}
