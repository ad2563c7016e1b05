/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes that sockets belong to, by socket cookie. The programs in owners.bpf.c fill the map
 * in the contexts of these processes. An attempt, in whatever context, looks its socket up.
 *
 * Owners are kept in the kernel and copied to the record there: they are those of the time of the
 * attempt, cost no system call per event, and stay available after privileges were given up. An
 * entry is removed when its socket is closed, so that many short connections do not evict a long
 * one. The key is the cookie and not the address of the socket: a stale entry would name the owner
 * of another socket at the same address. Before v5.12, where programs cannot request a cookie,
 * there are no owners.
 */
#ifndef RETRANS_OWNERS_BPF_H
#define RETRANS_OWNERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"

struct owner {
	struct retrans_owner process;
	/* The file-descriptor scan that found the process, if one did. */
	__u64 scan;
	/* The socket's cookie: an element may be reused for another socket while it is read. */
	__u64 cookie;
};

/*
 * The key of the last completed scan; no socket has this cookie. What a running scan has found so
 * far may turn out to be held by another process as well.
 */
#define NO_COOKIE 0ull

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the cookie */
	__type(value, struct owner);
} rt_owners SEC(".maps");

#endif /* RETRANS_OWNERS_BPF_H */
