/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The input of the filter: an attempt. The test harness (tests/live/bpf/filter_harness.bpf.c)
 * defines the same interface with a record as the input.
 */
#ifndef RETRANS_FILTER_INPUT_BPF_H
#define RETRANS_FILTER_INPUT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "address.bpf.h"
#include "attempt.bpf.h"
#include "kread.bpf.h"

typedef const struct attempt *filter_input;

/* Returns the value of a field that is in one of the lists in retrans.h. */
#define INPUT_VALUE(a, field, expression) (expression)
/*
 * 1 if a field of a full socket has a value. It is used only if there is a full socket, and then
 * every field of an attempt has a value.
 */
#define INPUT_HAS(a, name) 1

/*
 * Copies the attempt, and hides the origin of its pointers from clang. Otherwise clang computes the
 * addresses of all fields before the loop over the tests, and they do not fit on the stack.
 */
static __always_inline struct attempt copy_pointers(filter_input a)
{
	struct attempt copy = *a;

	barrier_var(copy.skc);
	barrier_var(copy.sk);
	/*
	 * Without a full socket, tp must remain the constant NULL, so that clang removes the reads
	 * of the socket.
	 */
	if (copy.tp) {
		barrier_var(copy.tp);
		barrier_var(copy.skb);
	}
	return copy;
}

#define INPUT_COPY_POINTERS(a)                                                                     \
	struct attempt copy = copy_pointers(a);                                                    \
	a = &copy

static __always_inline __u64 input_ts(filter_input a)
{
	return a->ts;
}

static __always_inline __u64 input_has_err(filter_input a)
{
	return a->has_err;
}

/* Returns a constant in each program, so that nothing is read from a socket that does not exist. */
static __always_inline bool input_has_socket(filter_input a)
{
	return a->tp;
}

static __always_inline struct endpoints input_endpoints(filter_input a)
{
	return endpoints_of(a);
}

/* The cookies of the sockets in the application's socket set (`SocketSet`). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);
	__type(value, __u8);
} rt_own_sockets SEC(".maps");

static __always_inline bool input_is_own_socket(filter_input a, __u64 cookie)
{
	return bpf_map_lookup_elem(&rt_own_sockets, &cookie);
}

/* A cgroup before v6.1 (7f203bc89eb6). */
struct cgroup___ids {
	__u64 ancestor_ids[1];
} __attribute__((preserve_access_index));

/*
 * Returns the id of the cgroup's ancestor at this level below the root. At its own level a cgroup
 * is its own ancestor. Always uses the probe helper, because some verifiers do not accept an array
 * at the end of a structure.
 */
static __always_inline __u64 cgroup_at(const struct cgroup *cgroup, __u32 level)
{
	const struct cgroup___ids *older = (const void *)cgroup;
	const struct cgroup *ancestor = NULL;
	__u64 id = 0;

	if (bpf_core_field_exists(cgroup->ancestors)) {
		__u64 at = bpf_core_field_offset(cgroup->ancestors) + level * sizeof(ancestor);

		bpf_probe_read_kernel(&ancestor, sizeof(ancestor), (const char *)cgroup + at);
		return BPF_CORE_READ(ancestor, kn, id);
	}
	if (bpf_core_field_exists(older->ancestor_ids)) {
		__u64 at = bpf_core_field_offset(older->ancestor_ids) + level * sizeof(id);

		bpf_probe_read_kernel(&id, sizeof(id), (const char *)older + at);
	}
	return id;
}

/*
 * Reads the id of the ancestor of the socket's cgroup at this level. Returns false if the level is
 * deeper than the cgroup itself, or the cgroup is not reported.
 */
static __always_inline bool input_cgroup_at(filter_input a, __u32 level, __u64 *id)
{
	const struct sock *sk = a->sk;
	const struct cgroup *cgroup;
	__u32 own_level;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return false;
	cgroup = KREAD(a, sk, sk_cgrp_data.cgroup);
	own_level = KREAD(a, cgroup, level);
	if (level > own_level)
		return false;
	/* The cgroup is the root itself, and cgroup_of() does not report it. */
	if (hides_root_cgroup && !own_level)
		return false;
	*id = cgroup_at(cgroup, level);
	return true;
}

#endif /* RETRANS_FILTER_INPUT_BPF_H */
