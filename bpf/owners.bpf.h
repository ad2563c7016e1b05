/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes that own sockets, by socket cookie. The programs in owners.bpf.c fill the map in
 * the contexts of these processes. The programs that report an attempt look up its socket in the
 * map, whatever context they run in.
 *
 * Owners are kept in the kernel, and the programs copy them to the record. Therefore a record
 * contains the owner at the time of the attempt, and an event costs no system call. The owners in
 * the map stay available after privileges were dropped. A map element is removed when its socket is
 * closed, so that many short connections do not evict a long one. The key is the cookie and not the
 * address of the socket, because a stale element would name the owner of another socket at the same
 * address. Before v5.12 programs cannot request a cookie, so there are no owners.
 */
#ifndef RETRANS_OWNERS_BPF_H
#define RETRANS_OWNERS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"

struct owner {
	struct retrans_owner process;
	/* The number of the file-descriptor scan that found the process; 0 if none did. */
	__u64 scan;
	/*
	 * The socket's cookie. A program compares it after reading, because the element may be
	 * reused for another socket meanwhile.
	 */
	__u64 cookie;
};

/*
 * The key of the element that contains the number of the last completed scan. No socket has this
 * cookie. As long as a scan runs, the processes that it found are not final, because it may find
 * another process that holds the same socket.
 */
#define NO_COOKIE 0ull

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the cookie */
	__type(value, struct owner);
} rt_owners SEC(".maps");

#endif /* RETRANS_OWNERS_BPF_H */
