/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why an attempt of a full socket was made, from the state in which its caller left the socket.
 * What no signature proves is unknown.
 */
#ifndef RETRANS_KIND_BPF_H
#define RETRANS_KIND_BPF_H

/*
 * By socket, what was heard from the peer when a timeout found the first copy still in this host's
 * queue. If the next attempt comes and nothing more was heard, it was the queue that drained
 * (tcp_tsq_handler(), since f4dae54e486d, v5.13): a duplicate ACK leaves the same state otherwise.
 */
struct held {
	__u32 segs_in;
	/* For another socket at the same address. */
	__u32 snd_una;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64); /* the socket's address */
	__type(value, struct held);
} held SEC(".maps");

/* Whether there has ever been one: on most hosts there is none to be looked for. */
bool any_held = false;

/* Of an attempt whose result is known. */
static __always_inline void remember_held(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	struct held fresh = {};
	__u64 key = (__u64)a->sk;

	if (a->result != TCP_RETRANS_IN_HOST_QUEUE || a->kind != RETRANS_KIND_RTO)
		return;
	fresh.segs_in = LOAD(tp, segs_in);
	fresh.snd_una = LOAD(tp, snd_una);
	bpf_map_update_elem(&held, &key, &fresh, 0);
	any_held = true;
}

static __always_inline bool is_resumed(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	__u64 key = (__u64)a->sk;
	const struct held *then;

	if (!any_held)
		return false;
	then = bpf_map_lookup_elem(&held, &key);
	return then && then->segs_in == LOAD(tp, segs_in) && then->snd_una == LOAD(tp, snd_una);
}

/* The timer's own: tcp_write_timer_handler() clears icsk_pending before it handles a timeout. */
static __always_inline __u8 kind_of_timeout(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	if (a->state == TCP_SYN_SENT)
		return a->tcp_flags & TCPHDR_SYN ? RETRANS_KIND_SYN : RETRANS_KIND_UNKNOWN;
	/* tcp_retransmit_timer() enters Loss first. */
	if (a->ca_state != TCP_CA_Loss)
		return RETRANS_KIND_UNKNOWN;
	/* Its own test. */
	if (!LOAD(tp, snd_wnd) && a->state != TCP_SYN_RECV &&
	    !(LOAD(a->sk, __sk_common.skc_flags) & (1 << SOCK_DEAD)))
		return RETRANS_KIND_ZERO_WINDOW_PROBE;
	/* It counts its timeouts, other than such probes, before it sends. */
	return LOAD(icsk, icsk_retransmits) ? RETRANS_KIND_RTO : RETRANS_KIND_UNKNOWN;
}

/* In Loss, and not by the timer. */
static __always_inline __u8 kind_in_loss(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	/*
	 * No progress since the timeout: a queue that has drained, or a duplicate ACK, if that is
	 * not what it was seen to be.
	 */
	if (LOAD(icsk, icsk_retransmits))
		return is_resumed(a) ? RETRANS_KIND_RESUME : RETRANS_KIND_UNKNOWN;
	/*
	 * tcp_simple_retransmit() enters Loss as well, if it was not the state before, and leaves
	 * these two at 0; a timeout sets both. mtu_info stays from the first ICMP error on: without
	 * it there was none, and with it a socket that was in Loss before may be here for either.
	 */
	if (LOAD(tp, undo_marker))
		return LOAD(tp, mtu_info) ? RETRANS_KIND_UNKNOWN : RETRANS_KIND_SLOW_START;
	/* Fast Open's data that the SYN-ACK left out is sent again in the same way. */
	if (!LOAD(tp, prior_ssthresh) && LOAD(tp, mtu_info) && !LOAD_BITFIELD(tp, syn_data))
		return RETRANS_KIND_MTU;
	return RETRANS_KIND_UNKNOWN;
}

static __always_inline __u8 kind_of(const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;
	__u8 pending = LOAD(icsk, icsk_pending);

	if (pending == 0)
		return kind_of_timeout(a);

	/* tcp_send_loss_probe() sets tlp_high_seq once the probe is out. */
	if (pending == ICSK_TIME_LOSS_PROBE && a->ca_state <= TCP_CA_CWR && !LOAD(tp, tlp_high_seq))
		return RETRANS_KIND_TLP;

	if (a->ca_state == TCP_CA_Loss &&
	    (pending == ICSK_TIME_RETRANS || pending == ICSK_TIME_REO_TIMEOUT))
		return kind_in_loss(a);
	if (a->ca_state != TCP_CA_Recovery)
		return RETRANS_KIND_UNKNOWN;
	if (pending == ICSK_TIME_RETRANS || pending == ICSK_TIME_REO_TIMEOUT)
		return RETRANS_KIND_FAST;
	/*
	 * A probe that was scheduled before Recovery began may still be pending, and may even go
	 * out in it: but a probe retransmits the last segment sent, and nothing else.
	 */
	if (pending == ICSK_TIME_LOSS_PROBE && a->end_seq != LOAD(tp, snd_nxt))
		return RETRANS_KIND_FAST;

	return RETRANS_KIND_UNKNOWN;
}

#endif /* RETRANS_KIND_BPF_H */
