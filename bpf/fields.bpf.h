/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fields, each once for both: the record and the filter. The lists take a macro of three: the
 * end of its RETRANS_FACT_, the member of the record, and where it is read, of an attempt `a`.
 */
#ifndef RETRANS_FIELDS_BPF_H
#define RETRANS_FIELDS_BPF_H

/* Of the connection. */
#define CONNECTION_FIELDS(FIELD)                                                                   \
	FIELD(RESULT, result, a->result)                                                           \
	FIELD(KIND, kind, a->kind)                                                                 \
	FIELD(SPORT, sport, LOAD(a->skc, skc_num))                                                 \
	FIELD(DPORT, dport, bpf_ntohs(LOAD(a->skc, skc_dport)))                                    \
	FIELD(STATE, state, a->state)                                                              \
	FIELD(SEGS, segs, a->segs)                                                                 \
	FIELD(TRANSMIT, transmit, a->transmit)

/* Of whoever has the socket: of a SYN-ACK the listener's. */
#define OWNER_FIELDS(FIELD)                                                                        \
	FIELD(NETNS, netns, netns_of(a))                                                           \
	FIELD(UID, uid, LOAD(a->sk, sk_uid.val))                                                   \
	FIELD(MARK, mark, mark_of(a))

/* These are absent if they are 0. */
#define ID_FIELDS(FIELD)                                                                           \
	FIELD(COOKIE, cookie, cookie_of(a))                                                        \
	FIELD(CGROUP, cgroup, cgroup_of(a))                                                        \
	FIELD(NETNS_COOKIE, netns_cookie, netns_cookie_of(a))                                      \
	FIELD(BOUND_DEV_IF, bound_dev_if, LOAD(a->skc, skc_bound_dev_if))

/* Those below are there only of a full socket. */
#define SEGMENT_FIELDS(FIELD)                                                                      \
	FIELD(SEQ, seq, a->seq)                                                                    \
	FIELD(END_SEQ, end_seq, a->end_seq)                                                        \
	FIELD(LEN, len, LOAD(a->skb, len))                                                         \
	FIELD(TCP_FLAGS, tcp_flags, a->tcp_flags)

#define TCP_FIELDS(FIELD)                                                                          \
	FIELD(SND_UNA, snd_una, LOAD(a->tp, snd_una))                                              \
	FIELD(SND_NXT, snd_nxt, LOAD(a->tp, snd_nxt))                                              \
	FIELD(SND_WND, snd_wnd, LOAD(a->tp, snd_wnd))                                              \
	FIELD(SND_CWND, snd_cwnd, LOAD(a->tp, snd_cwnd))                                           \
	FIELD(SSTHRESH, ssthresh, LOAD(a->tp, snd_ssthresh))                                       \
	/* kept in eighths */                                                                      \
	FIELD(SRTT_US, srtt_us, LOAD(a->tp, srtt_us) >> 3)                                         \
	FIELD(RTO_US, rto_us, (__u32)(LOAD(&a->tp->inet_conn, icsk_rto) * tick_ns / 1000))         \
	FIELD(MSS, mss, LOAD(a->tp, mss_cache))                                                    \
	FIELD(RETRANS_OUT, retrans_out, LOAD(a->tp, retrans_out) - a->retrans_out_added)           \
	FIELD(TOTAL_RETRANS, total_retrans, LOAD(a->tp, total_retrans))                            \
	FIELD(WMEM_QUEUED, wmem_queued, (__u32)LOAD(a->sk, sk_wmem_queued))                        \
	FIELD(CA_STATE, ca_state, a->ca_state)                                                     \
	FIELD(RETRANSMITS, retransmits, LOAD(&a->tp->inet_conn, icsk_retransmits))                 \
	FIELD(BACKOFF, backoff, LOAD(&a->tp->inet_conn, icsk_backoff))                             \
	FIELD(PENDING, pending, LOAD(&a->tp->inet_conn, icsk_pending))

#endif /* RETRANS_FIELDS_BPF_H */
