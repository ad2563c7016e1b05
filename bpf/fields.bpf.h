/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The list of fields, from which both the record and the filter are generated. Each list invokes
 * its macro with three arguments: the suffix of the RETRANS_FACT_ number, the member of the record,
 * and the expression that reads the value of the attempt `a`.
 */
#ifndef RETRANS_FIELDS_BPF_H
#define RETRANS_FIELDS_BPF_H

/* Fields of the connection. */
#define CONNECTION_FIELDS(FIELD)                                                                   \
	FIELD(RESULT, result, a->result)                                                           \
	FIELD(KIND, kind, a->kind)                                                                 \
	FIELD(SPORT, sport, KREAD(a, a->skc, skc_num))                                             \
	FIELD(DPORT, dport, bpf_ntohs(KREAD(a, a->skc, skc_dport)))                                \
	FIELD(STATE, state, a->state)                                                              \
	FIELD(SEGS, segs, a->segs)                                                                 \
	FIELD(TRANSMIT, transmit, a->transmit)

/* Fields of the socket; for a SYN-ACK, of the listener. */
#define OWNER_FIELDS(FIELD)                                                                        \
	FIELD(NETNS, netns, netns_of(a))                                                           \
	FIELD(UID, uid, KREAD(a, a->sk, sk_uid.val))                                               \
	FIELD(MARK, mark, mark_of(a))

/* Fields that are absent if they are 0. */
#define ID_FIELDS(FIELD)                                                                           \
	FIELD(COOKIE, cookie, cookie_of(a))                                                        \
	FIELD(CGROUP, cgroup, cgroup_of(a))                                                        \
	FIELD(NETNS_COOKIE, netns_cookie, netns_cookie_of(a))                                      \
	FIELD(BOUND_DEV_IF, bound_dev_if, KREAD(a, a->skc, skc_bound_dev_if))

/* Fields that require a full socket: of the segment, and of the TCP socket. */
#define SEGMENT_FIELDS(FIELD)                                                                      \
	FIELD(SEQ, seq, a->seq)                                                                    \
	FIELD(END_SEQ, end_seq, a->end_seq)                                                        \
	FIELD(LEN, len, KREAD(a, a->skb, len))                                                     \
	FIELD(TCP_FLAGS, tcp_flags, a->tcp_flags)

#define TCP_FIELDS(FIELD)                                                                          \
	FIELD(SND_UNA, snd_una, KREAD(a, a->tp, snd_una))                                          \
	FIELD(SND_NXT, snd_nxt, KREAD(a, a->tp, snd_nxt))                                          \
	FIELD(SND_WND, snd_wnd, KREAD(a, a->tp, snd_wnd))                                          \
	FIELD(SND_CWND, snd_cwnd, KREAD(a, a->tp, snd_cwnd))                                       \
	FIELD(SSTHRESH, ssthresh, KREAD(a, a->tp, snd_ssthresh))                                   \
	/* stored in eighths */                                                                    \
	FIELD(SRTT_US, srtt_us, KREAD(a, a->tp, srtt_us) >> 3)                                     \
	FIELD(RTO_US, rto_us, (__u32)(KREAD(a, &a->tp->inet_conn, icsk_rto) * tick_ns / 1000))     \
	FIELD(MSS, mss, KREAD(a, a->tp, mss_cache))                                                \
	FIELD(RETRANS_OUT, retrans_out, KREAD(a, a->tp, retrans_out) - a->retrans_out_added)       \
	FIELD(TOTAL_RETRANS, total_retrans, KREAD(a, a->tp, total_retrans))                        \
	FIELD(WMEM_QUEUED, wmem_queued, (__u32)KREAD(a, a->sk, sk_wmem_queued))                    \
	FIELD(CA_STATE, ca_state, a->ca_state)                                                     \
	FIELD(RETRANSMITS, retransmits, KREAD(a, &a->tp->inet_conn, icsk_retransmits))             \
	FIELD(BACKOFF, backoff, KREAD(a, &a->tp->inet_conn, icsk_backoff))                         \
	FIELD(PENDING, pending, KREAD(a, &a->tp->inet_conn, icsk_pending))

#endif /* RETRANS_FIELDS_BPF_H */
