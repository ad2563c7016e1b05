/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes that own sockets, by socket cookie. The programs in owners.bpf.c fill the map in
 * the contexts of these processes. An attempt looks its socket up, whatever its own context is.
 *
 * Owners are kept in the kernel, and the programs copy them to the record. So they are the owners
 * at the time of the attempt, they cost no system call per event, and they stay available after
 * privileges were dropped. An entry is removed when its socket is closed, so that many short
 * connections do not evict a long one. The key is the cookie and not the address of the socket,
 * because a stale entry would name the owner of another socket at the same address. Before v5.12
 * programs cannot request a cookie, so there are no owners.
 */
#ifndef RETRANS_OWNERS_BPF_H
#define RETRANS_OWNERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"

struct owner {
	struct retrans_owner process;
	/* The number of the file-descriptor scan that found the process, if a scan found it. */
	__u64 scan;
	/*
	 * The socket's cookie. It is compared because an element may be reused for another socket
	 * while it is read.
	 */
	__u64 cookie;
};

/*
 * The key of the last completed scan. No socket has this cookie. A process that a running scan has
 * found is not final: another process may hold the socket as well.
 */
#define NO_COOKIE 0ull

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the cookie */
	__type(value, struct owner);
} rt_owners SEC(".maps");

#endif /* RETRANS_OWNERS_BPF_H */
