/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why an attempt of a full socket was made, from the state in which its caller left the socket.
 * What no signature proves is unknown.
 */
#ifndef RETRANS_KIND_BPF_H
#define RETRANS_KIND_BPF_H

static __always_inline __u8 kind_of(const struct attempt *a)
{
	const struct inet_connection_sock *icsk = &a->tp->inet_conn;
	__u8 pending = LOAD(icsk, icsk_pending);

	/*
	 * tcp_write_timer_handler() clears icsk_pending before it handles an RTO (and before it
	 * probes a closed window, which takes another way than the tracepoint's).
	 */
	if (pending == 0) {
		if (a->state == TCP_SYN_SENT)
			return a->tcp_flags & TCPHDR_SYN ? RETRANS_KIND_SYN : RETRANS_KIND_UNKNOWN;
		/*
		 * tcp_retransmit_timer() enters Loss and raises icsk_retransmits first. With the
		 * window closed the same function probes it instead.
		 */
		if (a->ca_state == TCP_CA_Loss && LOAD(icsk, icsk_retransmits) &&
		    LOAD(a->tp, snd_wnd))
			return RETRANS_KIND_RTO;
		return RETRANS_KIND_UNKNOWN;
	}

	/* tcp_send_loss_probe() sets tlp_high_seq once the probe is out. */
	if (pending == ICSK_TIME_LOSS_PROBE && a->ca_state <= TCP_CA_CWR &&
	    !LOAD(a->tp, tlp_high_seq))
		return RETRANS_KIND_TLP;

	if (a->ca_state != TCP_CA_Recovery)
		return RETRANS_KIND_UNKNOWN;
	if (pending == ICSK_TIME_RETRANS || pending == ICSK_TIME_REO_TIMEOUT)
		return RETRANS_KIND_FAST;
	/*
	 * A probe that was scheduled before Recovery began may still be pending, and may even go
	 * out in it: but a probe retransmits the last segment sent, and nothing else.
	 */
	if (pending == ICSK_TIME_LOSS_PROBE && a->end_seq != LOAD(a->tp, snd_nxt))
		return RETRANS_KIND_FAST;

	return RETRANS_KIND_UNKNOWN;
}

#endif /* RETRANS_KIND_BPF_H */
