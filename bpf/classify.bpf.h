/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Classifies an attempt: its result, its kind, and whether it reached the transmit step, which
 * attempt.bpf.h defines.
 *
 * The programs run right before or right after __tcp_retransmit_skb() returns, under the socket's
 * lock. So they find the socket in the state that the kernel's checks saw. If that state proves a
 * precise value, the functions below return it. Otherwise they return a coarser value, or unknown.
 */
#ifndef RETRANS_CLASSIFY_BPF_H
#define RETRANS_CLASSIFY_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "attempt.bpf.h"
#include "kread.bpf.h"

/*
 * Transmit: whether an attempt reached the transmit step. If it did, the kernel counts it in
 * RetransSegs, whatever the result of the step. Earlier exits increase no counter.
 */

/*
 * Requires that a program ran at the entry of the attempt. total_retrans increases together with
 * RetransSegs and nowhere else.
 */
static __always_inline __u8 transmit_since(const struct attempt *a, const struct in_flight *f)
{
	return KREAD(a, a->tp, total_retrans) != f->total_retrans ? RETRANS_TRANSMIT_YES
								  : RETRANS_TRANSMIT_NO;
}

/*
 * Returns true if the transmit step may send a copy of the segment. Then the copy gets the time
 * stamp, and the segment does not. The kernel makes a copy if the data is not aligned (where
 * NET_IP_ALIGN is not 0) or the headroom is too large.
 */
static __always_inline bool may_be_copied(const struct attempt *a)
{
	const struct sk_buff *skb = a->skb;
	__u64 data = (__u64)KREAD(a, skb, data);

	return data & 3 || data - (__u64)KREAD(a, skb, head) >= 0xffff;
}

/*
 * Returns true if the segment cannot have reached the transmit step. There __tcp_transmit_skb()
 * first raises tcp_wstamp_ns to the socket's clock and stores it in the segment. Only a success
 * advances tcp_wstamp_ns further. If this function returns false, it is not known whether the
 * segment reached the step, because the time stamp may be from an earlier transmission.
 */
static __always_inline bool is_unstamped(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct sk_buff *skb = a->skb;
	__u64 wstamp = KREAD(a, tp, tcp_wstamp_ns);

	return wstamp < KREAD(a, tp, tcp_clock_cache) ||
	       (!may_be_copied(a) && KREAD(a, skb, skb_mstamp_ns) != wstamp);
}

/* Requires the errno. Used for attempts at whose entry no program ran. */
static __always_inline __u8 transmit_of_errno(const struct attempt *a)
{
	switch (a->err) {
	/* The errnos of the earlier exits. The transmit step can fail with each of them too. */
	case -EBUSY:
	case -EAGAIN:
	case -EINVAL:
	case -ENOMEM:
	case -EHOSTUNREACH:
		return is_unstamped(a) ? RETRANS_TRANSMIT_NO : RETRANS_TRANSMIT_UNKNOWN;
	default:
		return RETRANS_TRANSMIT_YES;
	}
}

/* Requires the result. It may prove what the errno and the socket leave open. */
static __always_inline __u8 transmit_of_result(const struct attempt *a)
{
	switch (a->result) {
	case TCP_RETRANS_SUCCESS:
	case TCP_RETRANS_PSKB_COPY_NOBUFS:
		return RETRANS_TRANSMIT_YES;
	/* The state or the kernel's enum proves that one of the earlier checks failed. */
	case TCP_RETRANS_END_SEQ_ERROR:
	case TCP_RETRANS_TRIM_HEAD_NOMEM:
	case TCP_RETRANS_UNCLONE_NOMEM:
	case TCP_RETRANS_FRAG_NOMEM:
	case TCP_RETRANS_RCV_ZERO_WINDOW:
		return RETRANS_TRANSMIT_NO;
	case TCP_RETRANS_IN_HOST_QUEUE:
		/* In the kernel's enum this is an exit before the step. */
		return a->has_err ? RETRANS_TRANSMIT_UNKNOWN : RETRANS_TRANSMIT_NO;
	case TCP_RETRANS_ROUTE_FAIL:
		/* So is this; by errno, only -EHOSTUNREACH can be an exit before the step. */
		if (!a->has_err)
			return RETRANS_TRANSMIT_NO;
		return a->err == -EHOSTUNREACH ? RETRANS_TRANSMIT_UNKNOWN : RETRANS_TRANSMIT_YES;
	default:
		return RETRANS_TRANSMIT_UNKNOWN;
	}
}

/*
 * Result: derived from the return value of __tcp_retransmit_skb(). Since v6.17 (ad892e912b84) the
 * tracepoint passes it as `int err`.
 */

/*
 * Returns true if too much data of the socket is queued in this host. Before v5.13 (ac3959fd0dcc)
 * __tcp_retransmit_skb() checks this first, and then defers the attempt with -EAGAIN. It is not
 * known whether the running kernel has this check. So if its condition is true, -EAGAIN does not
 * prove that the receiver's window is closed. The queue may drain during the attempt: at the entry
 * it is at least as long as at the check, and at the exit it may be shorter.
 */
static __always_inline bool is_backlogged(const struct attempt *a)
{
	const struct sock *sk = a->sk;
	__u32 queued, limit, sndbuf;

	/* The tracepoint has a third argument only in later kernels. */
	if (third_arg != RETRANS_THIRD_ARG_NONE)
		return false;
	queued = KREAD(a, sk, sk_wmem_queued);
	limit = queued + (queued >> 2);
	sndbuf = KREAD(a, sk, sk_sndbuf);
	return (__u32)KREAD(a, sk, sk_wmem_alloc.refs.counter) > (limit < sndbuf ? limit : sndbuf);
}

/*
 * Returns true if the socket lost its route in the transmit step of IPv6. inet6_csk_xmit() then
 * returns the errno of the lookup as it is and stores it in sk_err_soft. IPv4 returns -EHOSTUNREACH
 * for each of these errnos.
 */
static __always_inline bool is_route_lost(const struct attempt *a)
{
	return KREAD(a, a->skc, skc_family) == AF_INET6 && !KREAD(a, a->sk, sk_dst_cache) &&
	       KREAD(a, a->sk, sk_err_soft) == -a->err;
}

/* Requires attempt_read_segment(), and `transmit` as far as the errno proves it. */
static __always_inline __u32 result_of(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	__u32 snd_una = KREAD(a, tp, snd_una);

	switch (a->err) {
	case 0:
		return TCP_RETRANS_SUCCESS;
	case -EBUSY:
		/* The transmit step may also fail with -EBUSY. */
		return a->transmit == RETRANS_TRANSMIT_NO ? TCP_RETRANS_IN_HOST_QUEUE
							  : TCP_RETRANS_ERR_DEFAULT;
	case -EPERM:
		return RETRANS_OWN_DENIED;
	case NET_XMIT_DROP:
		return RETRANS_OWN_XMIT_DROP;
	case -EHOSTUNREACH:
		/*
		 * The socket has no route if the kernel failed to rebuild the header, or if the
		 * route was removed between the rebuild and ip_queue_xmit(). If the socket has a
		 * route, the error is from a lower layer.
		 */
		return KREAD(a, a->sk, sk_dst_cache) ? TCP_RETRANS_ERR_DEFAULT
						     : TCP_RETRANS_ROUTE_FAIL;
	case -ENETUNREACH:
	case -EACCES:
		return is_route_lost(a) ? TCP_RETRANS_ROUTE_FAIL : TCP_RETRANS_ERR_DEFAULT;
	case -EAGAIN:
		/*
		 * The kernel's condition for a closed window: the segment begins at or after the
		 * end of the window, and it is not the head segment.
		 */
		if ((__s32)(snd_una + KREAD(a, tp, snd_wnd) - a->seq) <= 0 && a->seq != snd_una &&
		    !(a->entry_seen ? a->was_backlogged : is_backlogged(a)))
			return TCP_RETRANS_RCV_ZERO_WINDOW;
		return TCP_RETRANS_ERR_DEFAULT;
	case -EINVAL:
		if (before(a->seq, snd_una) && before(a->end_seq, snd_una))
			return TCP_RETRANS_END_SEQ_ERROR;
		return is_route_lost(a) ? TCP_RETRANS_ROUTE_FAIL : TCP_RETRANS_ERR_DEFAULT;
	case -ENOMEM:
		/* tcp_trim_head() advances seq to snd_una only if it succeeds. */
		if (before(a->seq, snd_una))
			return TCP_RETRANS_TRIM_HEAD_NOMEM;
		/*
		 * In the transmit step -ENOMEM does not prove that an allocation failed: since v6.7
		 * (1e03d32bea8e) it is also the result of a failed signature of TCP-AO.
		 */
		if (a->transmit != RETRANS_TRANSMIT_NO)
			return TCP_RETRANS_ERR_DEFAULT;
		if (a->site == NOMEM_SITE_FRAGMENT)
			return TCP_RETRANS_FRAG_NOMEM;
		if (a->site == NOMEM_SITE_UNCLONE)
			return TCP_RETRANS_UNCLONE_NOMEM;
		return RETRANS_OWN_NOMEM;
	case -ENOBUFS:
		/*
		 * The allocation of a copy (for an unusual headroom) or of a clone failed, or a
		 * lower layer failed. The state does not distinguish them.
		 */
		return RETRANS_OWN_NOBUFS;
	default:
		return TCP_RETRANS_ERR_DEFAULT;
	}
}

/*
 * Refines the result of the kernel's own enum by the errno. The enum has one name for every failure
 * of the transmit step, and its last version has one name for all sites of -ENOMEM. Every other
 * failure has its own name in the enum, so only these two names need the errno.
 */
static __always_inline __u32 refine_result(const struct attempt *a, __u32 result)
{
	if (result != TCP_RETRANS_ERR_DEFAULT && result != RETRANS_OWN_NOMEM)
		return result;
	switch (a->err) {
	case -EPERM:
	case NET_XMIT_DROP:
	case -ENOBUFS:
	case -ENOMEM:
	/* The route may be lost in the transmit step. */
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EACCES:
		return result_of(a);
	case -EINVAL:
		return is_route_lost(a) ? TCP_RETRANS_ROUTE_FAIL : result;
	default:
		return result;
	}
}

/* True if the kernel has enumerators that are not in the table. */
const volatile bool has_unlisted = false;
/*
 * Maps the kernel's number of each such enumerator to its slot. Numbers without an enumerator are
 * mapped to RETRANS_RESULT_SLOT_UNKNOWN.
 */
const volatile __u8 unlisted_slots[RETRANS_MAX_ENUMERATORS] = {};

/* Returns the slot in which a result is counted. */
static __always_inline __u32 result_slot(__u32 result)
{
	__u64 number = result ^ RETRANS_RESULT_UNKNOWN;

	if (has_unlisted && number < RETRANS_MAX_ENUMERATORS) {
		/* The verifier requires the mask; the barrier keeps clang from removing it. */
		barrier_var(number);
		return unlisted_slots[number & (RETRANS_MAX_ENUMERATORS - 1)];
	}
	if (result < 16)
		return result;
	if (result >= 128 && result - 128 + 16 < RETRANS_RESULT_SLOT_UNKNOWN)
		return result - 128 + 16;
	return RETRANS_RESULT_SLOT_UNKNOWN;
}

/*
 * Kind: the reason for an attempt of a full socket.
 *
 * The kernel retransmits from four places only. tcp_retransmit_timer() runs with icsk_pending 0, or
 * from tcp_ld_RTO_revert() (RFC 6069), and always enters Loss first. tcp_send_loss_probe() runs
 * when the probe timer expires. tcp_xmit_retransmit_queue() is called for an ACK, for an ICMP error
 * (tcp_simple_retransmit()), by the reordering timer, for a SYN-ACK without the data of Fast Open,
 * and when a queue of this host or the pacing timer releases the socket (tcp_tsq_write()). Before
 * 5dfe9d273932 (v6.10, and some stable kernels) tcp_rcv_fastopen_synack() retransmits that data
 * itself. The functions below find out which of them can have left the socket in its state.
 */

/*
 * The last attempt of a socket in the state Loss. The state alone does not prove what caused an
 * attempt there, but what has changed since the last one does.
 */
struct loss_memory {
	/*
	 * tcp_clock_cache at the last attempt. The kernel refreshes it for each received segment,
	 * each timer and each new transmission, but not for an ICMP error that reduces the MTU. So
	 * if it did not change, the same call made both attempts, or such an error arrived since.
	 */
	__u64 clock;
	/* Detect another socket at the same address, and another time in Loss. */
	__u32 ports;
	__u32 high_seq;
	__u32 undo_marker;
	/*
	 * icsk_pmtu_cookie at the last attempt. An ICMP error causes attempts if it lowers this. If
	 * the MTU was raised in between, the error is not detected.
	 */
	__u32 pmtu;
	/* At the last attempt of the timer, or the first one in Loss that was seen. */
	__u32 segs_in;
	bool by_timer; /* true if segs_in is from an attempt of the timer */
	/* Of the last attempt. */
	__u8 retransmits;
	__u8 kind;
	__u8 state;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096); /* more at open, by the number of CPUs */
	__type(key, __u64);	   /* the address of the socket */
	__type(value, struct loss_memory);
} rt_loss_memory SEC(".maps");

/* Returns what is remembered of an attempt, except for its kind. */
static __always_inline struct loss_memory loss_memory_of(const struct attempt *a, __u8 pending)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	return (struct loss_memory){
	    .clock = KREAD(a, tp, tcp_clock_cache),
	    .ports = KREAD(a, a->skc, skc_portpair),
	    .high_seq = KREAD(a, tp, high_seq),
	    .undo_marker = KREAD(a, tp, undo_marker),
	    .pmtu = KREAD(a, icsk, icsk_pmtu_cookie),
	    .segs_in = KREAD(a, tp, segs_in),
	    .retransmits = KREAD(a, icsk, icsk_retransmits),
	    .by_timer = !pending,
	    .state = a->state,
	};
}

/*
 * Returns true if the memory is of the socket's present time in Loss. undo_marker is the sequence
 * number at which a recovery began. It stays the same if high_seq advances (F-RTO, RFC 5682). If it
 * is 0, high_seq decides; if that has advanced, the memory is lost.
 */
static __always_inline bool is_same_loss(const struct loss_memory *m, const struct loss_memory *now)
{
	return m->ports == now->ports && m->undo_marker == now->undo_marker &&
	       (now->undo_marker || m->high_seq == now->high_seq);
}

/* Returns true if tcp_retransmit_timer() made the attempt. It makes one only. */
static __always_inline bool is_timer_kind(__u8 kind)
{
	return kind == RETRANS_KIND_RTO || kind == RETRANS_KIND_SYN ||
	       kind == RETRANS_KIND_ZERO_WINDOW_PROBE;
}

/*
 * Requires the kind in `now`. `m` is the memory of the attempt before, or NULL. `element` is the
 * socket's element, or NULL.
 *
 * An existing element is overwritten in place, because an update of an LRU map acquires locks and a
 * new element. If the map evicts the element meanwhile and reuses it for another socket, that
 * socket finds other ports in it, and loses its memory.
 */
static __always_inline void remember_loss(const struct attempt *a, struct loss_memory *now,
					  const struct loss_memory *m, struct loss_memory *element)
{
	__u64 key = (__u64)a->sk;

	now->by_timer |= is_timer_kind(now->kind);
	if (m && !now->by_timer && now->kind != RETRANS_KIND_MTU) {
		now->segs_in = m->segs_in;
		now->by_timer = m->by_timer;
	}
	if (element)
		*element = *now;
	else
		bpf_map_update_elem(&rt_loss_memory, &key, now, BPF_ANY);
}

/* icsk_timeout was removed in v6.15; the timer has moved to struct sock since. */
struct inet_connection_sock___timeout {
	unsigned long icsk_timeout;
} __attribute__((preserve_access_index));

struct inet_connection_sock___timer {
	struct timer_list icsk_retransmit_timer;
} __attribute__((preserve_access_index));

struct sock___timer {
	struct timer_list tcp_retransmit_timer;
} __attribute__((preserve_access_index));

/*
 * Returns true if the time has come for which the socket's timer is set, or if this is not known.
 * tcp_write_timer_handler() checks the same before it calls tcp_send_loss_probe().
 */
static __always_inline bool is_timer_due(const struct attempt *a)
{
	const struct inet_connection_sock___timeout *timeout = (const void *)a->tp;
	const struct inet_connection_sock___timer *timer = (const void *)a->tp;
	const struct sock___timer *sock = (const void *)a->sk;
	__u32 due;

	if (bpf_core_field_exists(timeout->icsk_timeout))
		due = KREAD(a, timeout, icsk_timeout);
	else if (bpf_core_field_exists(sock->tcp_retransmit_timer))
		due = KREAD(a, sock, tcp_retransmit_timer.expires);
	else if (bpf_core_field_exists(timer->icsk_retransmit_timer))
		due = KREAD(a, timer, icsk_retransmit_timer.expires);
	else
		return true;
	return !before(bpf_jiffies64(), due);
}

/* Returns true if the attempt may be a tail loss probe, which sends the last segment. */
static __always_inline bool may_be_probe(const struct attempt *a, __u8 pending)
{
	const struct tcp_sock *tp = a->tp;

	/* tcp_send_loss_probe() sets tlp_high_seq only after the probe is sent. */
	return pending == ICSK_TIME_LOSS_PROBE && a->end_seq == KREAD(a, tp, snd_nxt) &&
	       !KREAD(a, tp, tlp_high_seq) && is_timer_due(a);
}

/*
 * Returns true if the SYN contained data (TCP Fast Open) and the peer has acknowledged the SYN at
 * most, which is one byte in bytes_acked.
 */
static __always_inline bool is_syn_data_unacked(const struct attempt *a)
{
	return KREAD_BITFIELD(a, a->tp, syn_data) && KREAD(a, a->tp, bytes_acked) <= 1;
}

/*
 * Returns the kind of an attempt that the timer caused. The caller recognizes it by icsk_pending,
 * which tcp_write_timer_handler() clears before a timeout.
 */
static __always_inline __u8 kind_of_timeout(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	if (a->state == TCP_SYN_SENT)
		return a->tcp_flags & TCPHDR_SYN ? RETRANS_KIND_SYN : RETRANS_KIND_UNKNOWN;
	/* tcp_retransmit_timer() enters Loss first. */
	if (a->ca_state != TCP_CA_Loss)
		return RETRANS_KIND_UNKNOWN;
	/* tcp_retransmit_timer() checks the same condition. */
	if (!KREAD(a, tp, snd_wnd) && a->state != TCP_SYN_RECV &&
	    !(KREAD(a, a->sk, __sk_common.skc_flags) & (1 << SOCK_DEAD)))
		return RETRANS_KIND_ZERO_WINDOW_PROBE;
	/* The kernel increases icsk_retransmits before it sends, except for a zero-window probe. */
	return KREAD(a, icsk, icsk_retransmits) ? RETRANS_KIND_RTO : RETRANS_KIND_UNKNOWN;
}

/*
 * Returns true if the timer made this attempt although icsk_pending is not 0: tcp_ld_RTO_revert()
 * calls tcp_retransmit_timer() for an ICMP error (RFC 6069). icsk_retransmits rises only right
 * before an attempt of the timer. Each of them is seen if failures are.
 */
static __always_inline bool is_reverted_timeout(const struct attempt *a,
						const struct loss_memory *now,
						const struct loss_memory *m)
{
	return sees_failures() && m->by_timer && now->retransmits == (__u8)(m->retransmits + 1) &&
	       !before(KREAD(a, a->tp, snd_una), a->seq);
}

/* Returns the kind of an attempt in Loss and SYN_SENT that is not made with icsk_pending 0. */
static __always_inline __u8 kind_in_syn_sent(const struct attempt *a, const struct loss_memory *now,
					     const struct loss_memory *m)
{
	/* tcp_ld_RTO_revert() requires a timeout before it. */
	if (!now->retransmits || (m && m->retransmits == now->retransmits))
		return RETRANS_KIND_MTU;
	if (m && is_reverted_timeout(a, now, m) && a->tcp_flags & TCPHDR_SYN)
		return RETRANS_KIND_SYN;
	return RETRANS_KIND_UNKNOWN;
}

/* Returns the kind of an attempt in Loss if the attempt before it in this state was seen. */
static __always_inline __u8 kind_since(const struct attempt *a, __u8 pending,
				       const struct loss_memory *now, const struct loss_memory *m)
{
	bool is_closed = !KREAD(a, a->tp, snd_wnd);

	if (now->retransmits > m->retransmits)
		return is_reverted_timeout(a, now, m) ? RETRANS_KIND_RTO : RETRANS_KIND_UNKNOWN;
	/*
	 * Each of these leaves two causes: an ICMP error about the MTU and something else; a tail
	 * loss probe that was set before Loss; the acknowledgement of the SYN; a zero-window probe
	 * by tcp_ld_RTO_revert(), which requires a timeout before it.
	 */
	if (now->pmtu < m->pmtu || may_be_probe(a, pending) || m->state == TCP_SYN_SENT ||
	    (is_closed && now->retransmits))
		return RETRANS_KIND_UNKNOWN;
	/* Unseen, the timer may have made an attempt that failed, and this one follows from it. */
	if (!sees_failures() && (is_closed || now->retransmits))
		return RETRANS_KIND_UNKNOWN;
	if (now->segs_in != m->segs_in)
		return RETRANS_KIND_SLOW_START;
	/* Nothing was received since the timer's attempt. */
	if (m->by_timer)
		return RETRANS_KIND_RESUME;
	/*
	 * Nothing was received since an attempt because of the path MTU. The limit of small queues
	 * (TSQ) interrupts such attempts, and the rest is sent when the queue drains. The
	 * reordering timer is not the reason: tcp_rack_reo_timeout() enters Recovery before it
	 * retransmits.
	 */
	if (m->kind == RETRANS_KIND_MTU || m->kind == RETRANS_KIND_RESUME)
		return RETRANS_KIND_RESUME;
	return RETRANS_KIND_UNKNOWN;
}

/* Returns the kind of an attempt in the state Loss that is not made with icsk_pending 0. */
static __always_inline __u8 kind_in_loss(const struct attempt *a, __u8 pending,
					 const struct loss_memory *now, const struct loss_memory *m)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	bool may_be_cut;

	/*
	 * The clock may be coarse. But the timer makes one attempt only, so if a segment was
	 * received since, another call made this one.
	 */
	if (m && m->clock == now->clock &&
	    !(is_timer_kind(m->kind) && now->segs_in != m->segs_in)) {
		/*
		 * A tunnel may reduce the MTU of its own route while it sends a segment, and the
		 * next one finds out. Then no ICMP error has reported this MTU to the socket.
		 */
		if (now->pmtu < m->pmtu)
			return now->pmtu == KREAD(a, tp, mtu_info) ? RETRANS_KIND_MTU
								   : RETRANS_KIND_UNKNOWN;
		return is_timer_kind(m->kind) ? RETRANS_KIND_UNKNOWN : m->kind;
	}
	if (a->state == TCP_SYN_SENT)
		return kind_in_syn_sent(a, now, m);
	/* tcp_simple_retransmit() requires an ICMP error, or a failed MTU probe (RFC 4821). */
	may_be_cut = KREAD(a, tp, mtu_info) || KREAD_BITFIELD(a, icsk, icsk_mtup.enabled);
	/*
	 * The SYN-ACK clears retrans_stamp. If it does not acknowledge the data of the SYN, it
	 * causes the first attempt after it, unless an ICMP error does. Such an error cannot come
	 * first if there was an attempt in SYN_SENT. Otherwise the attempt is the first one if
	 * nothing was retransmitted before.
	 */
	if (KREAD_BITFIELD(a, tp, syn_data) && a->is_first && !now->retransmits &&
	    (!m || m->state == TCP_SYN_SENT)) {
		bool is_unacked = KREAD(a, tp, bytes_acked) <= 1;

		if (is_unacked && (!may_be_cut || m || KREAD(a, tp, total_retrans) <= a->segs))
			return RETRANS_KIND_FASTOPEN;
		/* A part of the data may have been acknowledged. */
		if (is_unacked || now->segs_in <= 1)
			return RETRANS_KIND_UNKNOWN;
	}
	if (m)
		return kind_since(a, pending, now, m);

	/*
	 * The probe timer is not set in Loss. Only tcp_non_congestion_loss_retransmit(), or before
	 * v6.1 the end of tcp_simple_retransmit(), enters Loss and leaves it set.
	 */
	if (pending == ICSK_TIME_LOSS_PROBE)
		return may_be_cut && a->is_first && !may_be_probe(a, pending)
			   ? RETRANS_KIND_MTU
			   : RETRANS_KIND_UNKNOWN;
	/* The timer made an attempt that was not seen, or may have made one: a zero-window probe.
	 */
	if (now->retransmits || !KREAD(a, tp, snd_wnd))
		return RETRANS_KIND_UNKNOWN;
	/* tcp_simple_retransmit() leaves both at 0 if it enters Loss. */
	if (now->undo_marker || KREAD(a, tp, prior_ssthresh))
		return KREAD(a, tp, mtu_info) ? RETRANS_KIND_UNKNOWN : RETRANS_KIND_SLOW_START;
	/* Every timeout sets retrans_stamp, after its attempt. */
	if (!a->is_first)
		return may_be_cut ? RETRANS_KIND_UNKNOWN : RETRANS_KIND_SLOW_START;
	return may_be_cut ? RETRANS_KIND_MTU : RETRANS_KIND_UNKNOWN;
}

/* Returns the kind of an attempt outside the state Loss that is not made with icsk_pending 0. */
static __always_inline __u8 kind_outside_loss(const struct attempt *a, __u8 pending)
{
	/* tcp_xmit_retransmit_queue() sends only what is marked lost. */
	bool is_lost = KREAD(a, (const struct tcp_skb_cb *)a->skb->cb, sacked) & TCPCB_LOST;
	/* Otherwise only tcp_rcv_fastopen_synack() is left, before 5dfe9d273932. */
	bool is_fastopen = is_syn_data_unacked(a);

	if (may_be_probe(a, pending))
		return is_lost || is_fastopen ? RETRANS_KIND_UNKNOWN : RETRANS_KIND_TLP;
	if (is_lost)
		return RETRANS_KIND_FAST;
	return is_fastopen ? RETRANS_KIND_FASTOPEN : RETRANS_KIND_UNKNOWN;
}

/* Returns the kind of an attempt, and remembers an attempt in the state Loss. */
static __always_inline __u8 kind_of(const struct attempt *a)
{
	__u8 pending = KREAD(a, &a->tp->inet_conn, icsk_pending);
	__u64 key = (__u64)a->sk;
	struct loss_memory now, *m, *element;

	if (a->ca_state != TCP_CA_Loss)
		return hidden(pending ? kind_outside_loss(a, pending) : kind_of_timeout(a));
	now = loss_memory_of(a, pending);
	element = bpf_map_lookup_elem(&rt_loss_memory, &key);
	m = element && is_same_loss(element, &now) ? element : NULL;
	now.kind = hidden(pending ? kind_in_loss(a, pending, &now, m) : kind_of_timeout(a));
	remember_loss(a, &now, m, element);
	return now.kind;
}

#endif /* RETRANS_CLASSIFY_BPF_H */
