/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes that sockets belong to, by the sockets' cookies. The programs of owners.bpf.c fill
 * it, in the contexts of these processes; an attempt, made in whatever context, looks into it.
 */
#ifndef RETRANS_OWNERS_BPF_H
#define RETRANS_OWNERS_BPF_H

struct owner {
	struct retrans_owner told;
	/* The walk that found it, if one did. */
	__u64 walk;
	/* Whose it is: an element may be made another's while it is read. */
	__u64 cookie;
};

/*
 * No socket's: the last walk that is over. What a walk under way has found so far may turn out to
 * have another holder as well.
 */
#define NO_COOKIE 0ull

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open where it is used */
	__type(key, __u64);	/* the cookie */
	__type(value, struct owner);
} owners SEC(".maps");

#endif /* RETRANS_OWNERS_BPF_H */
