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
	__u32 queued = KREAD(a, sk, sk_wmem_queued);
	__u32 limit = queued + (queued >> 2);
	__u32 sndbuf = KREAD(a, sk, sk_sndbuf);

	return (__u32)KREAD(a, sk, sk_wmem_alloc.refs.counter) > (limit < sndbuf ? limit : sndbuf);
}

static __always_inline __u32 result_of(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	__u32 snd_una = KREAD(a, tp, snd_una);

	switch (a->err) {
	case 0:
		return TCP_RETRANS_SUCCESS;
	case -EBUSY:
		return TCP_RETRANS_IN_HOST_QUEUE;
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
		return TCP_RETRANS_ERR_DEFAULT;
	case -ENOMEM:
		/* tcp_trim_head() advances seq to snd_una only if it succeeds. */
		if (before(a->seq, snd_una))
			return TCP_RETRANS_TRIM_HEAD_NOMEM;
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
		return result_of(a);
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
 * Kind: the reason for an attempt of a full socket. It is derived from the state in which the
 * caller of tcp_retransmit_skb() or __tcp_retransmit_skb() left the socket.
 */

/*
 * The number of segments that a socket had received from the peer when a timeout found the first
 * copy of the segment still queued in this host. If nothing more was received until the next
 * attempt, that attempt was made because the queue drained (tcp_tsq_handler(), since f4dae54e486d,
 * v5.13). Otherwise a duplicate ACK may be the cause, because it leaves the socket in the same
 * state.
 */
struct host_queued {
	__u32 segs_in;
	/* Detects another socket at the same address. */
	__u32 snd_una;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* the address of the socket */
	__type(value, struct host_queued);
} rt_host_queued SEC(".maps");

/* True if the map has ever been used. On most hosts it has not, and the lookup is skipped. */
bool any_host_queued = false;

/* Requires the result and the kind of the attempt. */
static __always_inline void remember_host_queued(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	struct host_queued fresh = {};
	__u64 key = (__u64)a->sk;

	if (a->result != TCP_RETRANS_IN_HOST_QUEUE || a->kind != RETRANS_KIND_RTO)
		return;
	fresh.segs_in = KREAD(a, tp, segs_in);
	fresh.snd_una = KREAD(a, tp, snd_una);
	bpf_map_update_elem(&rt_host_queued, &key, &fresh, BPF_ANY);
	any_host_queued = true;
}

static __always_inline bool is_resumed(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	__u64 key = (__u64)a->sk;
	const struct host_queued *queued;

	if (!any_host_queued)
		return false;
	queued = bpf_map_lookup_elem(&rt_host_queued, &key);
	return queued && queued->segs_in == KREAD(a, tp, segs_in) &&
	       queued->snd_una == KREAD(a, tp, snd_una);
}

/*
 * Returns the kind of an attempt that a timeout caused. The caller recognizes it by icsk_pending,
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

/* Returns the kind of an attempt in state Loss that the timer did not make. */
static __always_inline __u8 kind_in_loss(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	/*
	 * Nothing was acknowledged since the timeout. Either the host's queue drained, or a
	 * duplicate ACK arrived.
	 */
	if (KREAD(a, icsk, icsk_retransmits))
		return is_resumed(a) ? RETRANS_KIND_RESUME : RETRANS_KIND_UNKNOWN;
	/*
	 * tcp_simple_retransmit(), which handles a reduced MTU, also enters Loss, unless the socket
	 * is in Loss already. It leaves undo_marker and prior_ssthresh at 0, and a timeout sets
	 * both. The first ICMP error sets mtu_info, which then stays set. If mtu_info is not set,
	 * there was no ICMP error. If it is set, a socket that was in Loss before may retransmit
	 * for either reason.
	 */
	if (KREAD(a, tp, undo_marker))
		return KREAD(a, tp, mtu_info) ? RETRANS_KIND_UNKNOWN : RETRANS_KIND_SLOW_START;
	/* Fast Open data that the SYN-ACK did not acknowledge is sent again in the same way. */
	if (!KREAD(a, tp, prior_ssthresh) && KREAD(a, tp, mtu_info) &&
	    !KREAD_BITFIELD(a, tp, syn_data))
		return RETRANS_KIND_MTU;
	return RETRANS_KIND_UNKNOWN;
}

static __always_inline __u8 kind_of(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	__u8 pending = KREAD(a, icsk, icsk_pending);

	if (pending == 0)
		return kind_of_timeout(a);

	/* tcp_send_loss_probe() sets tlp_high_seq only after the probe is sent. */
	if (pending == ICSK_TIME_LOSS_PROBE && a->ca_state <= TCP_CA_CWR &&
	    !KREAD(a, tp, tlp_high_seq))
		return RETRANS_KIND_TLP;

	if (a->ca_state == TCP_CA_Loss &&
	    (pending == ICSK_TIME_RETRANS || pending == ICSK_TIME_REO_TIMEOUT))
		return kind_in_loss(a);
	if (a->ca_state != TCP_CA_Recovery)
		return RETRANS_KIND_UNKNOWN;
	if (pending == ICSK_TIME_RETRANS || pending == ICSK_TIME_REO_TIMEOUT)
		return RETRANS_KIND_FAST;
	/*
	 * A tail loss probe that was scheduled before Recovery began may still be pending, and may
	 * be sent during Recovery. But a probe retransmits only the last segment that was sent, so
	 * an attempt with another segment is not a probe.
	 */
	if (pending == ICSK_TIME_LOSS_PROBE && a->end_seq != KREAD(a, tp, snd_nxt))
		return RETRANS_KIND_FAST;

	return RETRANS_KIND_UNKNOWN;
}

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

/* Requires the result. Used for attempts at whose entry no program ran. */
static __always_inline __u8 transmit_of(const struct attempt *a)
{
	switch (a->result) {
	case TCP_RETRANS_SUCCESS:
	case TCP_RETRANS_PSKB_COPY_NOBUFS:
	case RETRANS_OWN_NOBUFS:
	case RETRANS_OWN_DENIED:
	case RETRANS_OWN_XMIT_DROP:
		return RETRANS_TRANSMIT_YES;
	/* The state or the kernel's enum proves that one of the earlier checks failed. */
	case TCP_RETRANS_END_SEQ_ERROR:
	case TCP_RETRANS_TRIM_HEAD_NOMEM:
	case TCP_RETRANS_UNCLONE_NOMEM:
	case TCP_RETRANS_FRAG_NOMEM:
	case TCP_RETRANS_RCV_ZERO_WINDOW:
		return RETRANS_TRANSMIT_NO;
	}
	if (!a->has_err) {
		/*
		 * Without an errno, the result is from the kernel's enum. There these two results
		 * are exits before the step. The other results may occur before it or in it.
		 */
		return a->result == TCP_RETRANS_IN_HOST_QUEUE || a->result == TCP_RETRANS_ROUTE_FAIL
			   ? RETRANS_TRANSMIT_NO
			   : RETRANS_TRANSMIT_UNKNOWN;
	}
	if (is_unstamped(a))
		return RETRANS_TRANSMIT_NO;
	switch (a->err) {
	/* The errnos of the earlier exits. The transmit step can fail with each of them too. */
	case -EBUSY:
	case -EAGAIN:
	case -EINVAL:
	case -ENOMEM:
	case -EHOSTUNREACH:
		return RETRANS_TRANSMIT_UNKNOWN;
	default:
		return RETRANS_TRANSMIT_YES;
	}
}

#endif /* RETRANS_CLASSIFY_BPF_H */
