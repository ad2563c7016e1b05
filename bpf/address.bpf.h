/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Comparisons without branches, and the addresses of a connection. The verifier follows both sides
 * of each branch on an unknown value. With branches, a filter with many terms would have too many
 * paths.
 */
#ifndef RETRANS_ADDRESS_BPF_H
#define RETRANS_ADDRESS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tcp_defs.bpf.h"

/* Returns 1 for a negative number, else 0. The barriers hide the comparison from clang. */
static __always_inline __u64 sign_of(__u64 x)
{
	__u64 bit = x >> 63;

	barrier_var(bit);
	return bit;
}

/* is_zero() and is_less() return 1 or 0. */
static __always_inline __u64 is_zero(__u64 x)
{
	__u64 negative = -x;

	barrier_var(negative);
	return sign_of(x | negative) ^ 1;
}

static __always_inline __u64 is_less(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	barrier_var(difference);
	/* The borrow of the subtraction. */
	return sign_of((~a & b) | ((~a | b) & difference));
}

/* Returns all ones for 1, and 0 for 0. */
static __always_inline __u64 mask_of(__u64 bit)
{
	__u64 mask = -bit;

	barrier_var(mask);
	return mask;
}

/* An address in network byte order, as in a record. An IPv4 address uses only the first word. */
struct raw_address {
	__u32 words[4];
};

/* Both endpoints of a connection. */
struct endpoints {
	__u16 family;
	struct raw_address saddr;
	struct raw_address daddr;
};

/* An address as a number in host byte order. The low half contains an IPv4 address. */
struct address {
	__u64 high;
	__u64 low;
};

static __always_inline __u64 is_mapped_address(const struct raw_address *raw)
{
	return is_zero(raw->words[0] | raw->words[1] | (raw->words[2] ^ bpf_htonl(0xffff)));
}

/* Returns 1 if an IPv6 socket carries IPv4. Then the peer's address is IPv4-mapped. */
static __always_inline __u64 is_mapped(const struct endpoints *ends)
{
	return is_zero(ends->family ^ AF_INET6) & is_mapped_address(&ends->daddr);
}

static __always_inline __u64 is_inet(const struct endpoints *ends)
{
	return is_zero(ends->family ^ AF_INET) | is_mapped(ends);
}

/*
 * Returns `raw`, which is one of the two addresses in `ends`, as a number. For a mapped connection
 * this is the IPv4 address. If the connection is mapped and the local address is not, the socket is
 * not bound yet, and the result is 0.0.0.0.
 */
static __always_inline struct address address_of(const struct endpoints *ends,
						 const struct raw_address *raw)
{
	__u64 v6 = mask_of(is_inet(ends) ^ 1);
	__u64 mapped = mask_of(is_mapped(ends) & is_mapped_address(raw));
	__u64 v4 = mask_of(is_zero(ends->family ^ AF_INET));
	__u64 last = bpf_ntohl(raw->words[3]);
	struct address address = {
	    .high = v6 & ((__u64)bpf_ntohl(raw->words[0]) << 32 | bpf_ntohl(raw->words[1])),
	    .low = (v6 & ((__u64)bpf_ntohl(raw->words[2]) << 32 | last)) | (mapped & last) |
		   (v4 & bpf_ntohl(raw->words[0])),
	};

	return address;
}

#endif /* RETRANS_ADDRESS_BPF_H */
