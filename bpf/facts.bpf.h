/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the filter asks of an attempt. The harness of the tests has the same for records. */
#ifndef RETRANS_FACTS_BPF_H
#define RETRANS_FACTS_BPF_H

typedef const struct attempt *subject;

/* How to have a field of the lists. */
#define SUBJECT_VALUE(field, expression) (expression)
/* Whether there is one, of those of a full socket. */
#define SUBJECT_HAS(name) 1

/*
 * The same pointers, anew: else clang computes the addresses of all fields before the loop over the
 * tests, and there is no stack for that many.
 */
static __always_inline struct attempt afresh(subject a)
{
	struct attempt copy = *a;

	barrier_var(copy.skc);
	barrier_var(copy.sk);
	/* Where there is none clang shall know it. */
	if (copy.tp) {
		barrier_var(copy.tp);
		barrier_var(copy.skb);
	}
	return copy;
}

#define SUBJECT_AFRESH(a)                                                                          \
	struct attempt copy = afresh(a);                                                           \
	a = &copy

static __always_inline __u64 subject_ts(subject a)
{
	return a->ts;
}

static __always_inline __u64 has_err(subject a)
{
	return a->has_err;
}

/* A constant in each program: of what is not there, nothing may be read. */
static __always_inline bool has_socket(subject a)
{
	return a->tp;
}

static __always_inline struct ends subject_ends(subject a)
{
	return ends_of(a);
}

/* The sockets that the application calls its own, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at open where it is used */
	__type(key, __u64);
	__type(value, __u8);
} mine SEC(".maps");

static __always_inline bool is_mine(subject a, __u64 cookie)
{
	return bpf_map_lookup_elem(&mine, &cookie);
}

/* The ids of the cgroup and of those above it, from the root down; false behind the last. */
static __always_inline bool next_cgroup(subject a, __u32 level, __u64 *id)
{
	const struct sock *sk = a->sk;
	const struct cgroup *cgroup;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return false;
	cgroup = LOAD(sk, sk_cgrp_data.cgroup);
	if (level > (__u32)LOAD(cgroup, level))
		return false;
	*id = cgroup_at(cgroup, level);
	return true;
}

#endif /* RETRANS_FACTS_BPF_H */
