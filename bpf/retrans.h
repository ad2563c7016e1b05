/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interface between the BPF programs and user space: the record of one attempt, the counters
 * and the filter. It uses only fixed-width integers and no implicit padding. Every offset is
 * asserted here, and again in retrans-sdk/src/kernel/layout.rs.
 */
#ifndef RETRANS_H
#define RETRANS_H

#include "vmlinux.h"

/*
 * The result of one attempt. The names and numbers are from the patch proposed in July 2025 (v2)
 * for include/linux/tcp.h.
 */
enum tcp_retransmit_quit_reason {
	TCP_RETRANS_ERR_DEFAULT = 0,
	TCP_RETRANS_SUCCESS = 1,
	TCP_RETRANS_IN_HOST_QUEUE = 2,
	TCP_RETRANS_END_SEQ_ERROR = 3,
	TCP_RETRANS_TRIM_HEAD_NOMEM = 4,
	TCP_RETRANS_UNCLONE_NOMEM = 5,
	TCP_RETRANS_FRAG_NOMEM = 6,
	TCP_RETRANS_ROUTE_FAIL = 7,
	TCP_RETRANS_RCV_ZERO_WINDOW = 8,
	TCP_RETRANS_PSKB_COPY_NOBUFS = 9,
};

/*
 * Results that the proposal does not name. They start at 128, which leaves room for more results of
 * the kernel.
 */
enum retrans_own_result {
	RETRANS_OWN_NOMEM = 128,
	RETRANS_OWN_NOBUFS = 129,
	RETRANS_OWN_DENIED = 130,
	RETRANS_OWN_XMIT_DROP = 131,
};

/*
 * The kernel may have an enumerator whose name is not in the tables above. Its result is this base
 * plus the kernel's number. All declared numbers are smaller, so it is never confused with one of
 * them.
 */
#define RETRANS_RESULT_UNKNOWN 0x10000

/* The number of kernel enumerators that are mapped by name. Must be a power of two. */
#define RETRANS_MAX_ENUMERATORS 32

/* The type of the tracepoint's third argument. */
enum retrans_third_arg {
	RETRANS_THIRD_ARG_NONE = 0,
	RETRANS_THIRD_ARG_ERR = 1,
	RETRANS_THIRD_ARG_ENUM = 2,
};

/* The reason for the attempt. */
enum retrans_kind {
	RETRANS_KIND_UNKNOWN = 0,
	RETRANS_KIND_RTO = 1,
	RETRANS_KIND_TLP = 2,
	RETRANS_KIND_FAST = 3,
	RETRANS_KIND_SYN = 4,
	RETRANS_KIND_SYNACK = 5,
	RETRANS_KIND_ZERO_WINDOW_PROBE = 6,
	RETRANS_KIND_SLOW_START = 7,
	RETRANS_KIND_MTU = 8,
	RETRANS_KIND_RESUME = 9,
	RETRANS_KIND_FASTOPEN = 10,
};

/*
 * States whether the attempt reached the transmit step of __tcp_retransmit_skb(), where the kernel
 * counts RetransSegs and total_retrans.
 */
enum retrans_transmit {
	RETRANS_TRANSMIT_UNKNOWN = 0,
	RETRANS_TRANSMIT_NO = 1,
	RETRANS_TRANSMIT_YES = 2,
};

/*
 * The list of fields. The record, the presence bits, the offset checks and the operands of the
 * filter are generated from it. A list invokes FIELD for each field with the suffix of its
 * RETRANS_FIELD_ number, the member of struct retrans_record, the number, the offset in the record,
 * and the expression that reads the value of the attempt `a`.
 *
 * Numbers below 64 are bit numbers in retrans_header.present. To add a field, use the next free
 * number and add the member, a row here, and a row in retrans-sdk/src/event/schema.rs.
 */

/* Fields that every record contains. */
#define CONNECTION_FIELDS(FIELD, a)                                                                \
	FIELD(RESULT, result, 65, 24, (a)->result)                                                 \
	FIELD(KIND, kind, 66, 42, (a)->kind)                                                       \
	FIELD(SPORT, sport, 67, 38, KREAD(a, (a)->skc, skc_num))                                   \
	FIELD(DPORT, dport, 68, 40, bpf_ntohs(KREAD(a, (a)->skc, skc_dport)))                      \
	FIELD(STATE, state, 69, 43, (a)->state)                                                    \
	FIELD(SEGS, segs, 70, 32, (a)->segs)                                                       \
	FIELD(TRANSMIT, transmit, 71, 37, (a)->transmit)

/*
 * Fields of the socket. For a SYN-ACK, netns and uid are read from the listener, and mark from the
 * request socket.
 */
#define SOCKET_FIELDS(FIELD, a)                                                                    \
	FIELD(NETNS, netns, 2, 76, netns_of(a))                                                    \
	FIELD(UID, uid, 4, 104, KREAD(a, (a)->sk, sk_uid.val))                                     \
	FIELD(MARK, mark, 5, 108, mark_of(a))

/* Fields that are absent if they are 0. */
#define ID_FIELDS(FIELD, a)                                                                        \
	FIELD(COOKIE, cookie, 1, 80, cookie_of(a))                                                 \
	FIELD(CGROUP, cgroup, 3, 88, cgroup_of(a))                                                 \
	FIELD(NETNS_COOKIE, netns_cookie, 7, 96, netns_cookie_of(a))                               \
	FIELD(BOUND_DEV_IF, bound_dev_if, 6, 112, KREAD(a, (a)->skc, skc_bound_dev_if))

/* Fields that require a full socket. */
#define TCP_FIELDS(FIELD, a)                                                                       \
	FIELD(SEQ, seq, 9, 116, (a)->seq)                                                          \
	FIELD(END_SEQ, end_seq, 10, 120, (a)->end_seq)                                             \
	FIELD(LEN, len, 11, 124, KREAD(a, (a)->skb, len))                                          \
	FIELD(TCP_FLAGS, tcp_flags, 12, 128, (a)->tcp_flags)                                       \
	FIELD(SND_UNA, snd_una, 13, 136, KREAD(a, (a)->tp, snd_una))                               \
	FIELD(SND_NXT, snd_nxt, 14, 140, KREAD(a, (a)->tp, snd_nxt))                               \
	FIELD(SND_WND, snd_wnd, 15, 144, KREAD(a, (a)->tp, snd_wnd))                               \
	FIELD(SND_CWND, snd_cwnd, 16, 148, KREAD(a, (a)->tp, snd_cwnd))                            \
	FIELD(SSTHRESH, ssthresh, 17, 152, KREAD(a, (a)->tp, snd_ssthresh))                        \
	/* stored in eighths */                                                                    \
	FIELD(SRTT_US, srtt_us, 18, 156, KREAD(a, (a)->tp, srtt_us) >> 3)                          \
	FIELD(RTO_US, rto_us, 19, 160, rto_us_of(a))                                               \
	FIELD(MSS, mss, 20, 164, KREAD(a, (a)->tp, mss_cache))                                     \
	FIELD(RETRANS_OUT, retrans_out, 21, 168, retrans_out_of(a))                                \
	FIELD(TOTAL_RETRANS, total_retrans, 22, 172, KREAD(a, (a)->tp, total_retrans))             \
	FIELD(WMEM_QUEUED, wmem_queued, 23, 176, (__u32)KREAD(a, (a)->sk, sk_wmem_queued))         \
	FIELD(CA_STATE, ca_state, 24, 130, (a)->ca_state)                                          \
	FIELD(RETRANSMITS, retransmits, 25, 131, KREAD(a, &(a)->tp->inet_conn, icsk_retransmits))  \
	FIELD(BACKOFF, backoff, 26, 132, KREAD(a, &(a)->tp->inet_conn, icsk_backoff))              \
	FIELD(PENDING, pending, 27, 133, KREAD(a, &(a)->tp->inet_conn, icsk_pending))              \
	FIELD(SK_ERR_SOFT, sk_err_soft, 29, 180, KREAD(a, (a)->sk, sk_err_soft))

/*
 * Names of 16 bytes that require a full socket. A function reads the name. In the filter a name is
 * two operands of eight bytes.
 */
#define NAME_FIELDS(FIELD, a) FIELD(CA_NAME, ca_name, 28, 184, read_ca_name)

/*
 * Fields of the route and of the packet that the host dropped inside the attempt. They require a
 * full socket, each is absent if nothing proves it, and drops.bpf.h writes them. They are not
 * operands of the filter. A list invokes FIELD with the suffix of the number, the member, the
 * number, and the offset.
 */
#define PATH_FIELDS(FIELD)                                                                         \
	FIELD(DROP_REASON, drop_reason, 30, 200)                                                   \
	FIELD(OIF, oif, 31, 204)                                                                   \
	FIELD(DROP_AT, drop_at, 32, 208)                                                           \
	FIELD(DROP_DEV, drop_dev, 33, 216)                                                         \
	FIELD(DEV, dev, 51, 232)

/*
 * Fields that are recorded only on request. They require a full socket, and are not operands of the
 * filter.
 */
#define EXTENDED_FIELDS(FIELD, a)                                                                  \
	FIELD(PACKETS_OUT, packets_out, 35, 252, KREAD(a, (a)->tp, packets_out))                   \
	FIELD(LOST_OUT, lost_out, 36, 256, KREAD(a, (a)->tp, lost_out))                            \
	FIELD(SACKED_OUT, sacked_out, 37, 260, KREAD(a, (a)->tp, sacked_out))                      \
	FIELD(REORDERING, reordering, 38, 264, KREAD(a, (a)->tp, reordering))                      \
	FIELD(DSACK_DUPS, dsack_dups, 39, 268, KREAD(a, (a)->tp, dsack_dups))                      \
	FIELD(UNDO_RETRANS, undo_retrans, 40, 272, KREAD(a, (a)->tp, undo_retrans))                \
	FIELD(DELIVERED, delivered, 41, 276, KREAD(a, (a)->tp, delivered))                         \
	FIELD(BYTES_RETRANS, bytes_retrans, 42, 280, KREAD(a, (a)->tp, bytes_retrans))             \
	FIELD(PACING_RATE, pacing_rate, 43, 288, KREAD(a, (a)->sk, sk_pacing_rate))                \
	FIELD(PMTU, pmtu, 45, 300, KREAD(a, &(a)->tp->inet_conn, icsk_pmtu_cookie))                \
	FIELD(PRIORITY, priority, 46, 304, KREAD(a, (a)->sk, sk_priority))                         \
	FIELD(TOS, tos, 48, 312, tos_of(a))                                                        \
	FIELD(IS_MPTCP, is_mptcp, 49, 313, is_mptcp(a))                                            \
	FIELD(ORPHAN, orphan, 50, 314, is_orphan(a))

/* Extended fields that are absent if all of their bits are set. */
#define EXTENDED_MAYBE_FIELDS(FIELD, a)                                                            \
	FIELD(AGE_US, age_us, 34, 248, age_us_of(a))                                               \
	FIELD(MIN_RTT_US, min_rtt_us, 44, 296, KREAD(a, (a)->tp, rtt_min.s[0].v))                  \
	FIELD(TOTAL_RTO, total_rto, 47, 308, total_rto_of(a))

#define RETRANS_PATH_NUMBER(name, member, number, offset)	  RETRANS_FIELD_##name = number,
#define RETRANS_FIELD_NUMBER(name, member, number, offset, value) RETRANS_FIELD_##name = number,

/* Fields by number: presence bits, and operands of the filter. */
enum retrans_field {
	RETRANS_FIELD_ERR =
	    0, /* as an operand with the sign bit flipped, like every signed field */
	/*
	 * Set if the record contains a struct retrans_owner that is known. Not an operand.
	 */
	RETRANS_FIELD_OWNER = 8,

	/* Operands without a presence bit. */
	RETRANS_FIELD_TS = 64,	   /* CLOCK_BOOTTIME, ns */
	RETRANS_FIELD_INET = 72,   /* 1: IPv4, including mapped addresses; 0: IPv6 */
	RETRANS_FIELD_MAPPED = 73, /* 1 if the addresses are IPv4-mapped, else absent */
	RETRANS_FIELD_SADDR_HIGH = 74,
	RETRANS_FIELD_SADDR_LOW = 75, /* for IPv4, the whole address */
	RETRANS_FIELD_DADDR_HIGH = 76,
	RETRANS_FIELD_DADDR_LOW = 77,
	/* 1: in the application's socket set; absent if the cookie is absent */
	RETRANS_FIELD_OWN_SOCKET = 78,
	RETRANS_FIELD_CA_NAME_TAIL = 79, /* the last eight bytes; CA_NAME: the first eight */
	/*
	 * This number plus k is the operand for retrans_filter.subtrees[k]. Its value is 1 if the
	 * cgroup is in that subtree, else 0. It is absent if the cgroup is absent.
	 */
	RETRANS_FIELD_SUBTREE = 128,

	/* clang-format off */
	CONNECTION_FIELDS(RETRANS_FIELD_NUMBER, )
	SOCKET_FIELDS(RETRANS_FIELD_NUMBER, )
	ID_FIELDS(RETRANS_FIELD_NUMBER, )
	TCP_FIELDS(RETRANS_FIELD_NUMBER, )
	NAME_FIELDS(RETRANS_FIELD_NUMBER, )
	PATH_FIELDS(RETRANS_PATH_NUMBER)
	EXTENDED_FIELDS(RETRANS_FIELD_NUMBER, )
	EXTENDED_MAYBE_FIELDS(RETRANS_FIELD_NUMBER, )
	/* clang-format on */
};

#define FIELD_BIT(name, member, number, offset, value) | 1ull << (number)

/* The fields that require a full socket, as a bit mask. */
#define FULL_SOCKET_FIELDS (0 TCP_FIELDS(FIELD_BIT, ) NAME_FIELDS(FIELD_BIT, ))

#define RETRANS_RECORD_VERSION 2

struct retrans_header {
	__u16 length; /* of the whole record, in bytes */
	__u16 version;
	__u32 owner_at; /* the offset of struct retrans_owner; 0 unless owners are requested */
	__u64 present;	/* bit mask over enum retrans_field */
};

/*
 * A record ends after the last field that was requested, so rarely requested fields come last. The
 * offset of a field is the same in every record. Padding must be a member that put_record() sets.
 */
#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"
struct retrans_record {
	struct retrans_header header;

	__u64 ts; /* CLOCK_BOOTTIME, ns */
	__u32 result;
	__s32 err;
	__u32 segs;
	__u8 family;
	__u8 transmit; /* enum retrans_transmit */
	__u16 sport;   /* local, host byte order */
	__u16 dport;   /* host byte order */
	__u8 kind;
	__u8 state;
	__u8 saddr[16]; /* AF_INET: the first four bytes */
	__u8 daddr[16];
	/* Every record contains the fields up to here. */
	__u32 netns; /* inode number */

	__u64 cookie;
	__u64 cgroup; /* id in the unified hierarchy */
	__u64 netns_cookie;
	__u32 uid;
	__u32 mark;
	__u32 bound_dev_if;

	__u32 seq;
	__u32 end_seq;
	__u32 len;
	__u16 tcp_flags;

	__u8 ca_state;
	__u8 retransmits; /* icsk_retransmits */
	__u8 backoff;
	__u8 pending; /* icsk_pending */
	__u8 zero[2]; /* 0 */
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 snd_wnd;	/* bytes */
	__u32 snd_cwnd; /* segments */
	__u32 ssthresh; /* segments */
	__u32 srtt_us;
	__u32 rto_us;
	__u32 mss;	   /* bytes */
	__u32 retrans_out; /* segments */
	__u32 total_retrans;
	__u32 wmem_queued; /* bytes */
	__s32 sk_err_soft; /* errno, positive */
	__u8 ca_name[16];  /* NUL-terminated unless full */
	/* Records end here unless extended fields are requested: RETRANS_DEFAULT_LENGTH. */
	__u32 drop_reason; /* the running kernel's number */
	__u32 oif;	   /* index */
	__u64 drop_at;	   /* an instruction's address */
	__u8 drop_dev[16]; /* NUL-terminated unless full, as is `dev` */
	__u8 dev[16];
	/* RETRANS_PATH_LENGTH */

	__u32 age_us;
	__u32 packets_out; /* segments, like the next three */
	__u32 lost_out;
	__u32 sacked_out;
	__u32 reordering;
	__u32 dsack_dups;   /* segments */
	__s32 undo_retrans; /* segments; -1 for none */
	__u32 delivered;    /* segments */
	__u64 bytes_retrans;
	__u64 pacing_rate; /* bytes per second */
	__u32 min_rtt_us;
	__u32 pmtu; /* bytes */
	__u32 priority;
	__u32 total_rto;
	__u8 tos;
	__u8 is_mptcp;	       /* 0 or 1 */
	__u8 orphan;	       /* 0 or 1 */
	__u8 extended_zero[5]; /* 0 */
};
#pragma clang diagnostic pop

#define RETRANS_AT(field, offset)                                                                  \
	_Static_assert(__builtin_offsetof(struct retrans_record, field) == (offset), #field)

RETRANS_AT(header.length, 0);
RETRANS_AT(header.version, 2);
RETRANS_AT(header.owner_at, 4);
RETRANS_AT(header.present, 8);
RETRANS_AT(ts, 16);
RETRANS_AT(err, 28);
RETRANS_AT(family, 36);
RETRANS_AT(saddr, 44);
RETRANS_AT(daddr, 60);
RETRANS_AT(zero, 134);
RETRANS_AT(extended_zero, 315);

#define RETRANS_FIELD_AT(name, member, number, offset, value) RETRANS_AT(member, offset);
#define RETRANS_PATH_AT(name, member, number, offset)	      RETRANS_AT(member, offset);

/* clang-format off */
CONNECTION_FIELDS(RETRANS_FIELD_AT, )
SOCKET_FIELDS(RETRANS_FIELD_AT, )
ID_FIELDS(RETRANS_FIELD_AT, )
TCP_FIELDS(RETRANS_FIELD_AT, )
NAME_FIELDS(RETRANS_FIELD_AT, )
PATH_FIELDS(RETRANS_PATH_AT)
EXTENDED_FIELDS(RETRANS_FIELD_AT, )
EXTENDED_MAYBE_FIELDS(RETRANS_FIELD_AT, )
/* clang-format on */

_Static_assert(sizeof(struct retrans_record) % 8 == 0, "record");

/* The length of the shortest record. */
#define RETRANS_CORE_LENGTH 80

/* The length of a record with the fields that are recorded by default. */
#define RETRANS_DEFAULT_LENGTH 200
/* The length of a record with these and the fields of the path. */
#define RETRANS_PATH_LENGTH 248

/* The method by which the owner of a socket was determined. */
enum retrans_owner_source {
	RETRANS_OWNER_CONNECT = 1,
	RETRANS_OWNER_ACCEPT = 2,
	RETRANS_OWNER_HOLDER = 3,
};

/* The process that owns a socket. It follows the last field of a record if owners are requested. */
struct retrans_owner {
	__u32 pid;   /* 0: no process, or several */
	__u8 source; /* enum retrans_owner_source */
	__u8 zero[3];
	__u8 comm[16]; /* NUL-terminated unless full */
};

_Static_assert(sizeof(struct retrans_owner) == 24, "owner");
_Static_assert(__builtin_offsetof(struct retrans_owner, source) == 4, "source");
_Static_assert(__builtin_offsetof(struct retrans_owner, comm) == 8, "comm");

/*
 * A verdict: a report on a connection's attempts, made when their outcome is known. It is a second
 * kind of record in the ring buffer, with another version.
 */
#define RETRANS_VERDICT_VERSION 0x8001

enum retrans_verdict_kind {
	RETRANS_VERDICT_UNNEEDED = 1,
	RETRANS_VERDICT_ENDED = 2,
};

/* The proof that attempts were unneeded. */
enum retrans_unneeded_proof {
	RETRANS_PROOF_DSACK = 1,
	RETRANS_PROOF_UNDO = 2,
};

/* The reason for which a connection ended. */
enum retrans_end_reason {
	RETRANS_END_UNKNOWN = 0,
	RETRANS_END_ACKED = 1,
	RETRANS_END_TIMED_OUT = 2,
	RETRANS_END_RESET = 3,
	RETRANS_END_USER_TIMEOUT = 4,
	RETRANS_END_UNREACHABLE = 5,
	RETRANS_END_LOCAL_CLOSE = 6,
};

/* Bits of retrans_verdict.header.present. */
#define RETRANS_VERDICT_HAS_ATTEMPTS	  0x01
#define RETRANS_VERDICT_HAS_SEGS	  0x02
#define RETRANS_VERDICT_HAS_TOTAL_RETRANS 0x04
#define RETRANS_VERDICT_HAS_STALL_MS	  0x08
#define RETRANS_VERDICT_HAS_UNACKED	  0x10
#define RETRANS_VERDICT_HAS_ERR		  0x20

struct retrans_verdict {
	struct retrans_header header;

	__u64 ts; /* CLOCK_BOOTTIME, ns */
	__u64 cookie;
	__u32 netns;  /* inode number */
	__u8 verdict; /* enum retrans_verdict_kind */
	__u8 reason;  /* enum retrans_unneeded_proof or enum retrans_end_reason */
	__u8 family;
	__u8 state;  /* when the verdict was made, before a change to CLOSE */
	__u16 sport; /* local, host byte order */
	__u16 dport; /* host byte order */
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 attempts;
	__u32 segs;
	__u32 total_retrans; /* segments */
	__u32 stall_ms;
	__u32 unacked; /* bytes */
	__u32 err;     /* errno, positive */
	__u32 zero;    /* 0 */
};

_Static_assert(__builtin_offsetof(struct retrans_verdict, cookie) == 24, "verdict");
_Static_assert(__builtin_offsetof(struct retrans_verdict, saddr) == 44, "verdict");
_Static_assert(__builtin_offsetof(struct retrans_verdict, attempts) == 76, "verdict");
_Static_assert(sizeof(struct retrans_verdict) == 104, "verdict");

/* The state of the ring buffer's reader, shared with the programs. */
struct retrans_reader {
	__u64 awake; /* 1: the reader polls by timer; 0: it sleeps until it is woken */
	__u64
	    woken; /* 1: a program woke the polling reader; 0: the reader emptied the ring buffer */
};

_Static_assert(sizeof(struct retrans_reader) == 16, "reader");
_Static_assert(__builtin_offsetof(struct retrans_reader, woken) == 8, "woken");

/*
 * The slot in which a result is counted: 0..15 for the kernel's results, 16..30 for the SDK's own,
 * and the last one for every other number. Some slots are not used by any declared result. User
 * space assigns them to the kernel's enumerators whose names are not declared.
 */
#define RETRANS_RESULT_SLOTS	    32
#define RETRANS_RESULT_SLOT_UNKNOWN 31
#define RETRANS_KIND_SLOTS	    16
#define RETRANS_TRANSMIT_SLOTS	    4

struct retrans_count {
	__u64 attempts;
	__u64 segs;
};

/*
 * The increase that the kernel's own counters of one network namespace should show, for reconciling
 * with them.
 */
struct retrans_netns_stats {
	__u64 retrans_segs;
	__u64 retrans_fail;
	__u64 syn_retrans;
	__u64 in_host_queue;
	/* Attempts for which it is not known whether the kernel counted them. */
	struct retrans_count unknown;
	/* What the kernel counts by kind. It counts at least loss_probes and timeouts. */
	__u64 fast_retrans;
	__u64 slow_start_retrans;
	__u64 loss_probes;
	__u64 timeouts;
	/* Successful attempts of an unknown kind. Each may belong to any of the four. */
	struct retrans_count unknown_kind;
};

/* Verdicts. None of them is counted in the counters of attempts. */
struct retrans_verdict_counters {
	__u64 submitted;
	__u64 lost;
	/* Attempts whose connection is not tracked: its cookie is not known, or the map is full. */
	__u64 untracked;
};

/*
 * One element per CPU. seen = filtered + passed. With a ring buffer, passed = limited + lost +
 * submitted. `passed` is the sum of retrans_passed.
 */
struct retrans_counters {
	__u64 seen;
	__u64 filtered;
	__u64 limited;
	__u64 lost;
	__u64 submitted;
	struct retrans_count counts[RETRANS_RESULT_SLOTS][RETRANS_KIND_SLOTS];
	struct retrans_count transmits[RETRANS_TRANSMIT_SLOTS];
	struct retrans_netns_stats netns; /* of the namespace that is reconciled */
	/*
	 * Attempts that only a tracepoint without failures reported, although programs are attached
	 * to function exits.
	 */
	__u64 tracepoint_only;
	struct retrans_verdict_counters verdicts;
};

/*
 * One element per CPU, if a filter is set. Counts the attempts that passed it, before the rate
 * limit.
 */
struct retrans_passed {
	struct retrans_count counts[RETRANS_RESULT_SLOTS][RETRANS_KIND_SLOTS];
};

_Static_assert(sizeof(struct retrans_passed) == 32 * 16 * 16, "passed");
_Static_assert(sizeof(struct retrans_counters) == 40 + 32 * 16 * 16 + 4 * 16 + 96 + 8 + 24,
	       "counters");

/* The key by which attempts are counted in groups. */
enum retrans_group_by {
	RETRANS_GROUP_BY_NOTHING = 0,
	RETRANS_GROUP_BY_CGROUP = 1,
	RETRANS_GROUP_BY_NETNS = 2,
	RETRANS_GROUP_BY_LOCAL_PORT = 3,
	RETRANS_GROUP_BY_REMOTE_PORT = 4,
	RETRANS_GROUP_BY_REMOTE_PREFIX = 5,
};

/* The meaning of the numbers in a key. 0: the element is not used. */
enum retrans_group_tag {
	RETRANS_GROUP_NUMBER = 1, /* in `low` */
	RETRANS_GROUP_ABSENT = 2, /* the socket has no such value */
	RETRANS_GROUP_INET = 4,	  /* an IPv4 prefix in `low`, also for mapped addresses */
	RETRANS_GROUP_INET6 = 6,
};

struct retrans_group_key {
	__u64 high;
	__u64 low;
	enum retrans_group_tag tag;
	__u32 zero; /* 0 */
};

/* The bits of the remote address that a prefix contains, in host byte order. */
struct retrans_prefix_masks {
	__u64 inet;
	__u64 inet6_high;
	__u64 inet6_low;
};

/*
 * The attempts of one key. The first element of the map counts the attempts whose key has no
 * element, and its key is not used.
 */
struct retrans_group {
	struct retrans_group_key key;
	struct retrans_count counts[RETRANS_RESULT_SLOTS];
};

_Static_assert(sizeof(struct retrans_group_key) == 24, "group key");
_Static_assert(sizeof(struct retrans_group) == 24 + 32 * 16, "group");

#define RETRANS_TEST_FETCH	  0x01 /* the operand differs from the previous test's */
#define RETRANS_TEST_ENDS_OPERAND 0x02
#define RETRANS_TEST_ENDS_TERM	  0x04 /* implies ENDS_OPERAND */
#define RETRANS_TEST_ENDS_CLAUSE  0x08 /* implies ENDS_TERM */
/* Valid only with ENDS_TERM. They apply to the whole term. */
#define RETRANS_TEST_NEGATED   0x10
#define RETRANS_TEST_OR_ABSENT 0x20 /* not together with NEGATED */

/*
 * Tests whether an operand is in the inclusive range low..high. The range is empty if low > high.
 */
struct retrans_test {
	__u64 low;
	__u64 high;
	__u8 field; /* enum retrans_field */
	__u8 flags;
	__u8 zero[6];
};

#define RETRANS_MAX_TESTS    512
#define RETRANS_MAX_SUBTREES 16
/*
 * The number of cgroup levels below the root that are compared with the subtrees. Hosts use fewer.
 */
#define RETRANS_MAX_CGROUP_LEVELS 32

/*
 * An attempt passes if any clause is true, or if there is no test. A clause is true if all of its
 * terms are true. A term is true if any of its operands is. An operand is true if all of its tests
 * are.
 */
struct retrans_filter {
	__u32 used;
	__u32 subtrees_used;
	__u64 own_socket_used;		      /* 1 if RETRANS_FIELD_OWN_SOCKET is tested */
	__u64 ts_used;			      /* 1 if RETRANS_FIELD_TS is tested */
	__u64 subtrees[RETRANS_MAX_SUBTREES]; /* ids of cgroups */
	struct retrans_test tests[RETRANS_MAX_TESTS];
};

_Static_assert(sizeof(struct retrans_test) == 24, "test");
_Static_assert(sizeof(struct retrans_filter) == 24 + 16 * 8 + 512 * 24, "filter");

#endif /* RETRANS_H */
