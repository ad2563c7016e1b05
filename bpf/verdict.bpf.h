/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Verdicts: reports on a connection's attempts, made when their outcome is known. Two programs
 * report them: rt_verdict_undo when the congestion avoidance state changes, and rt_verdict_end when
 * the socket is closed. Neither is loaded unless verdicts are requested.
 *
 * The programs that report attempts only track the connection (struct connection), because they
 * have little room on the stack. Connections are identified by the socket's cookie. The map is not
 * an LRU map, which would evict connections without a report. If it is full, further connections
 * are counted as untracked. An element is removed when its socket is closed.
 *
 * A verdict is a record in the ring buffer. The header has another version, so the reader decides
 * at no cost for the records of attempts.
 */
#ifndef RETRANS_VERDICT_BPF_H
#define RETRANS_VERDICT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "address.bpf.h"
#include "attempt.bpf.h"
#include "kread.bpf.h"
#include "stats.bpf.h"
#include "wakeup.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* bytes; set at open */
} rt_events SEC(".maps");

/* A connection with attempts that passed the filter. */
struct connection {
	/* CLOCK_BOOTTIME in ns of the first attempt since snd_una advanced to stall_una. */
	__u64 stall_since;
	__u32 stall_una;
	__u32 attempts;
	__u32 segs;
	/* tp->dsack_dups at the last verdict, or at the first attempt. */
	__u32 dsack_dups;
	/*
	 * The recovery that is in progress: tp->undo_marker at its attempts, and their number. The
	 * kernel clears undo_marker when it undoes the reduction of the congestion window.
	 */
	__u32 undo_marker;
	__u32 recovery_attempts;
	__u32 recovery_segs;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u64);	/* the cookie */
	__type(value, struct connection);
} rt_connections SEC(".maps");

/* Read-only data, so that a new element needs no room on the stack. */
const volatile struct connection new_connection = {};

/* Returns the element of a connection, and adds it if necessary. NULL if the map is full. */
static __always_inline struct connection *connection_of(const struct attempt *a, __u64 cookie)
{
	struct connection *c = bpf_map_lookup_elem(&rt_connections, &cookie);

	if (c)
		return c;
	bpf_map_update_elem(&rt_connections, &cookie, (const void *)&new_connection, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&rt_connections, &cookie);
	if (c) {
		c->dsack_dups = KREAD(a, a->tp, dsack_dups);
		c->stall_una = KREAD(a, a->tp, snd_una);
	}
	return c;
}

/* Adds an attempt to the recovery in progress. */
static __always_inline void track_recovery(const struct attempt *a, struct connection *c)
{
	__u32 undo_marker = KREAD(a, a->tp, undo_marker);

	if (c->undo_marker != undo_marker) {
		c->undo_marker = undo_marker;
		c->recovery_attempts = 0;
		c->recovery_segs = 0;
	}
	c->recovery_attempts++;
	c->recovery_segs += a->segs;
}

/* Requires an attempt of a full socket with tp, segs and transmit. */
static __always_inline int track(const struct attempt *a)
{
	__u64 cookie = cookie_of(a);
	struct connection *c = cookie ? connection_of(a, cookie) : NULL;
	__u32 snd_una = KREAD(a, a->tp, snd_una);

	if (!c) {
		struct retrans_counters *counters = counters_of_cpu();

		if (counters)
			count(&counters->verdicts.untracked, 1);
		return 0;
	}
	if (!c->attempts || c->stall_una != snd_una) {
		c->stall_una = snd_una;
		c->stall_since = bpf_ktime_get_boot_ns();
	}
	c->attempts++;
	c->segs += a->segs;
	/*
	 * The undo of a SYN's timeout is not a proof: the acknowledgement of the SYN clears
	 * retrans_stamp, from which tcp_packet_delayed() concludes that nothing was retransmitted.
	 */
	if (a->transmit != RETRANS_TRANSMIT_NO &&
	    KREAD_BITFIELD(a, &a->tp->inet_conn, icsk_ca_state) >= TCP_CA_Recovery &&
	    KREAD(a, a->skc, skc_state) != TCP_SYN_SENT)
		track_recovery(a, c);
	return 0;
}

/* In a stack frame of its own, with values instead of the attempt: see put_extended_typed(). */
static __noinline int track_typed(const struct tcp_sock *tp, __u32 segs, __u8 transmit)
{
	struct attempt a = {
	    .skc = (const void *)tp,
	    .sk = (const void *)tp,
	    .tp = tp,
	    .segs = segs,
	    .transmit = transmit,
	    .probing = false,
	};

	return track(&a);
}

static __noinline int track_probing(const struct tcp_sock *tp, __u32 segs, __u8 transmit)
{
	struct attempt a = {
	    .skc = (const void *)tp,
	    .sk = (const void *)tp,
	    .tp = tp,
	    .segs = segs,
	    .transmit = transmit,
	    .probing = true,
	};

	return track(&a);
}

/* Tracks the connection of an attempt. */
static __always_inline void track_attempt(const struct attempt *a)
{
	if (a->probing)
		track_probing(a->tp, a->segs, a->transmit);
	else
		track_typed(a->tp, a->segs, a->transmit);
}

/*
 * Writes a verdict. The values are 0 if they have no presence bit in v->header.present. Verdicts
 * are written by tracing programs only, so the socket is read directly.
 */
static __always_inline void emit_verdict(const struct attempt *a, __u64 cookie,
					 const struct retrans_verdict *values)
{
	struct retrans_counters *c = counters_of_cpu();
	struct endpoints ends = endpoints_of(a);
	struct retrans_verdict *v;

	/* Cannot fail; the verifier requires the check. */
	if (!c)
		return;
	v = bpf_ringbuf_reserve(&rt_events, sizeof(*v), 0);
	if (!v) {
		count(&c->verdicts.lost, 1);
		return;
	}
	v->header.length = sizeof(*v);
	v->header.version = RETRANS_VERDICT_VERSION;
	v->header.owner_at = 0;
	v->header.present = values->header.present;
	v->ts = bpf_ktime_get_boot_ns();
	v->cookie = cookie;
	v->netns = netns_of(a);
	v->verdict = values->verdict;
	v->reason = values->reason;
	v->family = ends.family;
	v->state = a->state;
	/* Not skc_num, which the kernel clears when it releases the port. */
	v->sport = bpf_ntohs(a->tp->inet_conn.icsk_inet.inet_sport);
	v->dport = bpf_ntohs(a->skc->skc_dport);
	__builtin_memcpy(v->saddr, ends.saddr.words, sizeof(v->saddr));
	__builtin_memcpy(v->daddr, ends.daddr.words, sizeof(v->daddr));
	v->attempts = values->attempts;
	v->segs = values->segs;
	v->total_retrans = values->total_retrans;
	v->stall_ms = values->stall_ms;
	v->unacked = values->unacked;
	v->err = values->err;
	v->zero = 0;
	count(&c->verdicts.submitted, 1);
	bpf_ringbuf_submit(v, wakeup_flags(&rt_events, 0));
}

/*
 * Reports the segments that the peer has reported as received twice since the last verdict. If the
 * peer has reported more segments than were retransmitted, the network duplicates packets, and
 * nothing is proven. The kernel applies the same rule since v5.10 ("tcp: skip DSACKs with dubious
 * sequence ranges").
 */
static __always_inline void emit_dsack(const struct attempt *a, struct connection *c, __u64 cookie)
{
	__u32 dsack_dups = a->tp->dsack_dups;
	struct retrans_verdict v = {
	    .header.present = RETRANS_VERDICT_HAS_SEGS | RETRANS_VERDICT_HAS_TOTAL_RETRANS,
	    .verdict = RETRANS_VERDICT_UNNEEDED,
	    .reason = RETRANS_PROOF_DSACK,
	    .segs = dsack_dups - c->dsack_dups,
	    .total_retrans = a->tp->total_retrans,
	};

	if (!v.segs)
		return;
	c->dsack_dups = dsack_dups;
	if (dsack_dups <= v.total_retrans)
		emit_verdict(a, cookie, &v);
}

/*
 * Returns true if every attempt of a recovery that the kernel has undone was unneeded. The undo
 * itself does not prove this: F-RTO (RFC 5682) undoes a recovery as soon as any original segment is
 * acknowledged, timestamps (RFC 3522) as soon as the first attempt was unneeded, and without SACK
 * some kernels undo what they must not (v6.12 to v6.15, commits e37ab7373696 and d0fa59897e04).
 */
static __always_inline bool was_unneeded(const struct attempt *a, const struct connection *c)
{
	const struct tcp_options_received *options = &a->tp->rx_opt;
	int left = a->tp->undo_retrans;

	/* The peer has received each retransmitted segment twice. */
	if (!left)
		return true;
	/* A single attempt, also by the kernel's count, which includes filtered attempts. */
	if (c->recovery_attempts != 1 || left < 0 || (__u32)left != c->recovery_segs)
		return false;
	/* The acknowledgement echoes a timestamp from before this attempt. */
	return a->tp->retrans_stamp && BPF_CORE_READ_BITFIELD(options, saw_tstamp) &&
	       options->rcv_tsecr && before(options->rcv_tsecr, a->tp->retrans_stamp);
}

/* Reports the attempts of a recovery that the kernel has undone. */
static __always_inline void emit_undo(const struct attempt *a, struct connection *c, __u64 cookie)
{
	struct retrans_verdict v = {
	    .header.present = RETRANS_VERDICT_HAS_ATTEMPTS | RETRANS_VERDICT_HAS_SEGS |
			      RETRANS_VERDICT_HAS_TOTAL_RETRANS,
	    .verdict = RETRANS_VERDICT_UNNEEDED,
	    .reason = RETRANS_PROOF_UNDO,
	    .attempts = c->recovery_attempts,
	    .segs = c->recovery_segs,
	    .total_retrans = a->tp->total_retrans,
	};

	emit_verdict(a, cookie, &v);
}

/* Since v6.7. */
struct tcp_sock___usec {
	__u8 tcp_usec_ts : 1;
} __attribute__((preserve_access_index));

/*
 * Returns true if the kernel may have given up by the number of its probes: it probes a closed
 * window, or one that is too small for the next segment. Keepalive probes are sent only when
 * nothing waits to be sent.
 */
static __always_inline bool probes_window(const struct attempt *a)
{
	if (!a->tp->snd_wnd)
		return true;
	return a->tp->inet_conn.icsk_probes_out && a->tp->snd_nxt != a->tp->write_seq;
}

/*
 * Returns the reason of a timeout. If the socket has a user timeout, it decides, except for the
 * handshake and for window probes, for which the kernel checks the number of retries as well.
 */
static __always_inline __u8 timeout_reason(const struct attempt *a)
{
	const struct tcp_sock___usec *usec = (const void *)a->tp;
	__u32 user_timeout = a->tp->inet_conn.icsk_user_timeout;
	__u32 now_ms = bpf_ktime_get_ns() / 1000000;

	if (!user_timeout)
		return RETRANS_END_TIMED_OUT;
	if (a->state == TCP_SYN_RECV)
		return RETRANS_END_UNKNOWN;
	if (a->state != TCP_SYN_SENT)
		return probes_window(a) ? RETRANS_END_UNKNOWN : RETRANS_END_USER_TIMEOUT;
	/* Then the kernel keeps retrans_stamp in microseconds. */
	if (bpf_core_field_exists(usec->tcp_usec_ts) && BPF_CORE_READ_BITFIELD(usec, tcp_usec_ts))
		return RETRANS_END_UNKNOWN;
	return now_ms - a->tp->retrans_stamp >= user_timeout ? RETRANS_END_USER_TIMEOUT
							     : RETRANS_END_TIMED_OUT;
}

/* Returns true if the peer has acknowledged all data and the FIN. */
static __always_inline bool is_fin_acked(const struct attempt *a)
{
	return (a->state == TCP_FIN_WAIT2 || a->state == TCP_LAST_ACK || a->state == TCP_CLOSING) &&
	       a->tp->snd_una == a->tp->write_seq;
}

/* Returns the reason for which a handshake ends with an error that an ICMP message may cause. */
static __always_inline __u8 handshake_reason(const struct attempt *a, int err)
{
	/* Received segments: a refusal is one. After others, the last one is not known. */
	__u32 segs_in = a->tp->segs_in;

	if (err == ENETUNREACH || err == EHOSTUNREACH)
		return RETRANS_END_UNREACHABLE;
	if (err != ECONNREFUSED || a->state != TCP_SYN_SENT || segs_in > 1)
		return RETRANS_END_UNKNOWN;
	return segs_in ? RETRANS_END_RESET : RETRANS_END_UNREACHABLE;
}

/*
 * Returns the reason for which a connection ends. The kernel sets sk_err before it closes the
 * socket for an error. The program runs before the state changes.
 */
static __always_inline __u8 end_reason_of(const struct attempt *a)
{
	int err = a->sk->sk_err;

	switch (err) {
	case 0:
		if (is_fin_acked(a))
			return RETRANS_END_ACKED;
		/* close() sets this before the state changes. */
		return a->sk->sk_shutdown == SHUTDOWN_MASK ? RETRANS_END_LOCAL_CLOSE
							   : RETRANS_END_UNKNOWN;
	case ETIMEDOUT:
		return timeout_reason(a);
	case ECONNRESET:
	case EPIPE:
		return RETRANS_END_RESET;
	case ECONNABORTED:
		return RETRANS_END_LOCAL_CLOSE;
	}
	/* With IP_RECVERR, sk_err may be of an ICMP message that did not end the connection. */
	if (is_fin_acked(a))
		return RETRANS_END_ACKED;
	/* A timeout reports the last soft error, if there is one. */
	if (err == a->sk->sk_err_soft)
		return RETRANS_END_UNREACHABLE;
	if (a->state == TCP_SYN_SENT || a->state == TCP_SYN_RECV)
		return handshake_reason(a, err);
	return RETRANS_END_UNKNOWN;
}

/* Returns the bytes that the peer has not acknowledged, without SYN and FIN. */
static __always_inline __u32 unacked_of(const struct attempt *a)
{
	__u32 unacked = a->tp->write_seq - a->tp->snd_una;

	switch (a->state) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_FIN_WAIT1:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		return unacked ? unacked - 1 : 0;
	default:
		return unacked;
	}
}

static __always_inline void emit_end(const struct attempt *a, const struct connection *c,
				     __u64 cookie)
{
	struct retrans_verdict v = {
	    .header.present = RETRANS_VERDICT_HAS_ATTEMPTS | RETRANS_VERDICT_HAS_SEGS |
			      RETRANS_VERDICT_HAS_TOTAL_RETRANS | RETRANS_VERDICT_HAS_UNACKED,
	    .verdict = RETRANS_VERDICT_ENDED,
	    .reason = end_reason_of(a),
	    .attempts = c->attempts,
	    .segs = c->segs,
	    .total_retrans = a->tp->total_retrans,
	    .unacked = unacked_of(a),
	    .err = a->sk->sk_err,
	};

	if (v.err)
		v.header.present |= RETRANS_VERDICT_HAS_ERR;
	/* Otherwise the time at which the stall ended is not known. */
	if (a->tp->snd_una == c->stall_una && a->tp->write_seq != c->stall_una) {
		v.stall_ms = (bpf_ktime_get_boot_ns() - c->stall_since) / 1000000;
		v.header.present |= RETRANS_VERDICT_HAS_STALL_MS;
	}
	emit_verdict(a, cookie, &v);
}

/* Fills an attempt that stands for the socket. Returns false if it is not a full TCP socket. */
static __always_inline bool fill_socket(struct attempt *a, const struct sock *sk)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);

	if (!tp)
		return false;
	a->tp = tp;
	a->sk = (const void *)tp;
	a->skc = (const void *)tp;
	return true;
}

/*
 * True if the programs that report attempts cannot request a cookie: kprobes. Then the program
 * below requests the cookie of every connection.
 */
const volatile bool creates_cookies = false;

/* Runs before sk_state changes, for sockets of all protocols that use these states. */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(rt_verdict_end, const struct sock *sk, int old_state, int state)
{
	struct attempt a = {.state = old_state, .probing = false};
	struct connection *c;
	__u64 cookie;

	if (creates_cookies && state == TCP_ESTABLISHED)
		bpf_get_socket_cookie((void *)sk);
	if (creates_cookies && state == TCP_SYN_SENT)
		bpf_get_socket_cookie((void *)sk);
	if (state != TCP_CLOSE)
		return 0;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (!cookie)
		return 0;
	c = bpf_map_lookup_elem(&rt_connections, &cookie);
	if (!c || !fill_socket(&a, sk))
		return 0;
	emit_dsack(&a, c, cookie);
	emit_end(&a, c, cookie);
	bpf_map_delete_elem(&rt_connections, &cookie);
	return 0;
}

/* Runs before icsk_ca_state changes. The tracepoint exists since v5.19. */
SEC("?tp_btf/tcp_cong_state_set")
int BPF_PROG(rt_verdict_undo, const struct sock *sk, const __u8 ca_state)
{
	struct attempt a = {.probing = false};
	struct connection *c;
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	__u8 before;

	if (!cookie)
		return 0;
	c = bpf_map_lookup_elem(&rt_connections, &cookie);
	if (!c || !fill_socket(&a, sk))
		return 0;
	a.state = a.skc->skc_state;
	emit_dsack(&a, c, cookie);
	before = BPF_CORE_READ_BITFIELD(&a.tp->inet_conn, icsk_ca_state);
	if (before >= TCP_CA_Recovery && ca_state <= TCP_CA_Disorder) {
		/*
		 * Only an undo clears undo_marker in this state. tcp_simple_retransmit() clears it
		 * when it enters Loss, which is another recovery.
		 */
		if (c->undo_marker && c->recovery_attempts && !a.tp->undo_marker &&
		    was_unneeded(&a, c))
			emit_undo(&a, c, cookie);
		c->undo_marker = 0;
		c->recovery_attempts = 0;
		c->recovery_segs = 0;
	} else if (ca_state >= TCP_CA_Recovery && c->undo_marker != a.tp->undo_marker) {
		c->undo_marker = a.tp->undo_marker;
		c->recovery_attempts = 0;
		c->recovery_segs = 0;
	}
	return 0;
}

#endif /* RETRANS_VERDICT_BPF_H */
