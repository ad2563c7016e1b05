/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the filter compares is made of arithmetic alone: the verifier follows each branch on a value
 * that it does not know, and with many terms the paths would be too many.
 */
#ifndef RETRANS_ADDRESS_BPF_H
#define RETRANS_ADDRESS_BPF_H

/* 1 for a negative number. Behind the barriers clang does not see that this is a comparison. */
static __always_inline __u64 sign_of(__u64 x)
{
	__u64 bit = x >> 63;

	barrier_var(bit);
	return bit;
}

/* Each is 1 or 0. */
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

/* All ones for 1, none for 0. */
static __always_inline __u64 mask_of(__u64 bit)
{
	__u64 mask = -bit;

	barrier_var(mask);
	return mask;
}

/* As a record has it: of AF_INET the first word, in network byte order. */
struct raw_address {
	__u32 words[4];
};

/* Both ends of a connection. */
struct ends {
	__u16 family;
	struct raw_address saddr;
	struct raw_address daddr;
};

/* As numbers: of IPv4 the low half. */
struct address {
	__u64 high;
	__u64 low;
};

static __always_inline __u64 is_mapped_address(const struct raw_address *raw)
{
	return is_zero(raw->words[0] | raw->words[1] | (raw->words[2] ^ bpf_htonl(0xffff)));
}

/* IPv4 carried by an IPv6 socket: by the peer's address. */
static __always_inline __u64 is_mapped(const struct ends *ends)
{
	return is_zero(ends->family ^ AF_INET6) & is_mapped_address(&ends->daddr);
}

static __always_inline __u64 is_inet(const struct ends *ends)
{
	return is_zero(ends->family ^ AF_INET) | is_mapped(ends);
}

/*
 * One of the two. Of a mapped connection it is the IPv4 address, and 0.0.0.0 of a local one that is
 * not mapped: the socket is not bound to an address yet.
 */
static __always_inline struct address address_of(const struct ends *ends,
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
