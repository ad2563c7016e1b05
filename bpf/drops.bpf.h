/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet that the host dropped inside an attempt, and the device of the route.
 *
 * # Design
 *
 * The tracepoint kfree_skb fires for every packet that the host drops. A packet that is dropped on
 * its way down still belongs to its socket, so the program at the tracepoint records the drop under
 * the address of the socket. The attempt is reported later, under the same socket lock, and looks
 * the record up. Four facts prove that the record is of this attempt:
 *
 * - The attempt reached the transmit step, which increases total_retrans. So no other attempt of
 *   the socket has the value that both contain. Only a SYN-ACK that Fast Open sends again increases
 *   it, too, and no segment of the socket is sent meanwhile.
 * - The packet has the time of the transmission in progress (tcp_wstamp_ns), so it is neither an
 *   older packet of the socket, which a queue dropped, nor a received one.
 * - Its sequence number is in the range of the segment. Several segments may have the same time.
 * - The address is still that of the socket: see struct drop.
 *
 * The programs read with the helper for any memory, which lockdown=confidentiality forbids.
 *
 * A missing fact makes the fields absent. This is the case if the packet is encrypted or was given
 * another time (by a BPF program that paces), and if it was dropped after the attempt, or after it
 * left the socket, as a veth pair makes it.
 */
#ifndef RETRANS_DROPS_BPF_H
#define RETRANS_DROPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "kread.bpf.h"

/* The requested fields, as a bit mask over enum retrans_field. Other fields are not read. */
const volatile __u64 record_fields = ~0ull;
/* The end of the last requested field. */
const volatile __u32 record_length = sizeof(struct retrans_record);

/* True if the tracepoint kfree_skb has the argument `reason` (since v5.17, c504e5c2f964). */
const volatile bool has_drop_reason = false;

struct drop {
	__u64 sk; /* like the key; detects that the element was reused */
	__u64 at; /* the address of the instruction that dropped the packet */
	__u32 total_retrans;
	__u32 seq;
	__u32 reason;
	__u32 zero;
	__u64 dev[2]; /* a name of 16 bytes */
};

/* User space sets the size, as for rt_in_flight. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the address of the socket */
	__type(value, struct drop);
} rt_drops SEC(".maps");

static __always_inline void read_dev_name(const struct net_device *dev, __u64 to[2])
{
	const void *name = __builtin_preserve_access_index(&dev->name);

	to[0] = probe_read(name, 8);
	to[1] = probe_read(name + 8, 8);
}

/*
 * Returns the sequence number in the TCP header of a packet. In a tunnel it is that of the inner
 * header.
 */
static __always_inline __u32 seq_of_packet(const struct sk_buff *skb)
{
	const unsigned char *head = PROBE_READ(skb, head);
	__u32 header = BPF_CORE_READ_BITFIELD_PROBED(skb, encapsulation)
			   ? PROBE_READ(skb, inner_transport_header)
			   : PROBE_READ(skb, transport_header);

	/* The sequence number follows the two ports. */
	return bpf_ntohl((__u32)probe_read(head + header + 4, 4));
}

/*
 * Records the drop of a packet of a full TCP socket. All memory is read with the helper: the
 * verifier knows neither the type of the socket of a packet nor that of the packet's bytes.
 */
static __always_inline void record_drop(const struct sk_buff *skb, const struct tcp_sock *tp,
					__u64 at, __u32 reason)
{
	struct drop drop = {.sk = (__u64)tp, .at = at, .reason = reason};
	const struct net_device *dev;

	drop.total_retrans = PROBE_READ(tp, total_retrans);
	/* Most sockets have never retransmitted. */
	if (!drop.total_retrans)
		return;
	if (PROBE_READ(skb, skb_mstamp_ns) != PROBE_READ(tp, tcp_wstamp_ns))
		return;
	drop.seq = seq_of_packet(skb);
	dev = PROBE_READ(skb, dev);
	if (dev)
		read_dev_name(dev, drop.dev);
	bpf_map_update_elem(&rt_drops, &drop.sk, &drop, BPF_ANY);
}

/*
 * Returns the drop that is proven to be of the attempt of this socket that reached the transmit
 * step, else NULL. The first sequence number of the segment is in the upper half of `segment`, and
 * the number of sequence numbers in the lower half.
 */
static __always_inline const struct drop *drop_of(const struct tcp_sock *tp, __u64 segment)
{
	__u64 key = (__u64)tp;
	const struct drop *drop = bpf_map_lookup_elem(&rt_drops, &key);

	if (!drop || drop->sk != key || drop->total_retrans != PROBE_READ(tp, total_retrans))
		return NULL;
	return drop->seq - (__u32)(segment >> 32) < (__u32)segment ? drop : NULL;
}

#define PUT_PATH_ZERO(name, member, number, offset)                                                \
	if (__builtin_offsetof(struct retrans_record, member) < length) {                          \
		if (sizeof(r->member) == 16)                                                       \
			((__u64 *)&r->member)[0] = ((__u64 *)&r->member)[1] = 0;                   \
		else                                                                               \
			__builtin_memset(&r->member, 0, sizeof(r->member));                        \
	}

#define PATH_BIT(name) (1ull << RETRANS_FIELD_##name)

/*
 * Writes the fields of the path, which are after the default ones, and returns their presence bits.
 * Requires that `transmit` is written. For a SYN-ACK, tp is NULL.
 *
 * It is a function of its own, and reads with the helper in every program, so that the programs of
 * a stream that does not request these fields are as they would be without it.
 */
static __noinline __u64 put_path(struct retrans_record *r, const struct tcp_sock *tp, __u64 segment)
{
	__u64 fields = record_fields, present = 0;
	__u32 length = record_length;
	const struct drop *drop;

	/* clang-format off */
	PATH_FIELDS(PUT_PATH_ZERO)
	/* clang-format on */
	if (!tp)
		return 0;
	if (fields & (PATH_BIT(OIF) | PATH_BIT(DEV))) {
		const struct dst_entry *dst = PROBE_READ((const struct sock *)tp, sk_dst_cache);
		const struct net_device *dev = dst ? PROBE_READ(dst, dev) : NULL;

		if (dev && fields & PATH_BIT(OIF)) {
			r->oif = PROBE_READ(dev, ifindex);
			present |= PATH_BIT(OIF);
		}
		if (dev && fields & PATH_BIT(DEV)) {
			read_dev_name(dev, (__u64 *)r->dev);
			present |= PATH_BIT(DEV);
		}
	}
	if (fields & (PATH_BIT(DROP_REASON) | PATH_BIT(DROP_AT) | PATH_BIT(DROP_DEV)) &&
	    r->transmit == RETRANS_TRANSMIT_YES && (drop = drop_of(tp, segment))) {
		if (has_drop_reason && fields & PATH_BIT(DROP_REASON)) {
			r->drop_reason = drop->reason;
			present |= PATH_BIT(DROP_REASON);
		}
		if (fields & PATH_BIT(DROP_AT)) {
			r->drop_at = drop->at;
			present |= PATH_BIT(DROP_AT);
		}
		if (fields & PATH_BIT(DROP_DEV) && drop->dev[0]) {
			((__u64 *)r->drop_dev)[0] = drop->dev[0];
			((__u64 *)r->drop_dev)[1] = drop->dev[1];
			present |= PATH_BIT(DROP_DEV);
		}
	}
	return present;
}

#endif /* RETRANS_DROPS_BPF_H */
