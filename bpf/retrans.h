/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interface between the BPF programs and user space: the record of one attempt, the counters
 * and the filter. It uses fixed-width integers only and no implicit padding. Every offset is
 * asserted here, and again in retrans-sdk/src/source/layout.rs.
 */
#ifndef RETRANS_H
#define RETRANS_H

#include "vmlinux.h"

/*
 * The result of one attempt. Names and numbers are those of the patch proposed in July 2025 (v2)
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

/* Results that the proposal does not name. They start at 128, so that the kernel's can grow. */
enum retrans_own_result {
	RETRANS_OWN_NOMEM = 128,
	RETRANS_OWN_NOBUFS = 129,
	RETRANS_OWN_DENIED = 130,
	RETRANS_OWN_XMIT_DROP = 131,
};

/*
 * A kernel enumerator whose name is not in the table is reported as this base plus its number. All
 * declared numbers are smaller, so it is never confused with one of them.
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

/* Why the attempt was made. */
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
};

/*
 * Whether the attempt reached the transmit step of __tcp_retransmit_skb(), where the kernel counts
 * RetransSegs and total_retrans.
 */
enum retrans_transmit {
	RETRANS_TRANSMIT_UNKNOWN = 0,
	RETRANS_TRANSMIT_NO = 1,
	RETRANS_TRANSMIT_YES = 2,
};

/* Bit numbers in retrans_header.present, which marks the fields that hold a value. */
enum retrans_field {
	RETRANS_FIELD_ERR = 0,
	RETRANS_FIELD_COOKIE = 1,
	RETRANS_FIELD_NETNS = 2,
	RETRANS_FIELD_CGROUP = 3,
	RETRANS_FIELD_UID = 4,
	RETRANS_FIELD_MARK = 5,
	RETRANS_FIELD_BOUND_DEV_IF = 6,
	RETRANS_FIELD_NETNS_COOKIE = 7,
	/* The record is a struct retrans_owned_record whose owner is known. */
	RETRANS_FIELD_OWNER = 8,
	RETRANS_FIELD_SEQ = 9,
	RETRANS_FIELD_END_SEQ = 10,
	RETRANS_FIELD_LEN = 11,
	RETRANS_FIELD_TCP_FLAGS = 12,
	RETRANS_FIELD_SND_UNA = 13,
	RETRANS_FIELD_SND_NXT = 14,
	RETRANS_FIELD_SND_WND = 15,
	RETRANS_FIELD_SND_CWND = 16,
	RETRANS_FIELD_SSTHRESH = 17,
	RETRANS_FIELD_SRTT_US = 18,
	RETRANS_FIELD_RTO_US = 19,
	RETRANS_FIELD_MSS = 20,
	RETRANS_FIELD_RETRANS_OUT = 21,
	RETRANS_FIELD_TOTAL_RETRANS = 22,
	RETRANS_FIELD_WMEM_QUEUED = 23,
	RETRANS_FIELD_CA_STATE = 24,
	RETRANS_FIELD_RETRANSMITS = 25,
	RETRANS_FIELD_BACKOFF = 26,
	RETRANS_FIELD_PENDING = 27,
	RETRANS_FIELD_CA_NAME = 28,
	RETRANS_FIELD_SK_ERR_SOFT = 29,
};

#define RETRANS_RECORD_VERSION 2

struct retrans_header {
	__u16 length; /* of the whole record, in bytes */
	__u16 version;
	__u32 reserved; /* 0 */
	__u64 present;	/* bit mask over enum retrans_field */
};

/*
 * A record ends after the last field that was requested, so rarely requested fields come last. The
 * offset of a field is the same in every record.
 */
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
};

#define RETRANS_AT(field, offset)                                                                  \
	_Static_assert(__builtin_offsetof(struct retrans_record, field) == (offset), #field)

RETRANS_AT(header.length, 0);
RETRANS_AT(header.version, 2);
RETRANS_AT(header.present, 8);
RETRANS_AT(ts, 16);
RETRANS_AT(result, 24);
RETRANS_AT(err, 28);
RETRANS_AT(segs, 32);
RETRANS_AT(family, 36);
RETRANS_AT(transmit, 37);
RETRANS_AT(sport, 38);
RETRANS_AT(dport, 40);
RETRANS_AT(kind, 42);
RETRANS_AT(state, 43);
RETRANS_AT(saddr, 44);
RETRANS_AT(daddr, 60);
RETRANS_AT(netns, 76);
RETRANS_AT(cookie, 80);
RETRANS_AT(cgroup, 88);
RETRANS_AT(netns_cookie, 96);
RETRANS_AT(uid, 104);
RETRANS_AT(mark, 108);
RETRANS_AT(bound_dev_if, 112);
RETRANS_AT(seq, 116);
RETRANS_AT(end_seq, 120);
RETRANS_AT(len, 124);
RETRANS_AT(tcp_flags, 128);
RETRANS_AT(ca_state, 130);
RETRANS_AT(retransmits, 131);
RETRANS_AT(backoff, 132);
RETRANS_AT(pending, 133);
RETRANS_AT(zero, 134);
RETRANS_AT(snd_una, 136);
RETRANS_AT(snd_nxt, 140);
RETRANS_AT(snd_wnd, 144);
RETRANS_AT(snd_cwnd, 148);
RETRANS_AT(ssthresh, 152);
RETRANS_AT(srtt_us, 156);
RETRANS_AT(rto_us, 160);
RETRANS_AT(mss, 164);
RETRANS_AT(retrans_out, 168);
RETRANS_AT(total_retrans, 172);
RETRANS_AT(wmem_queued, 176);
RETRANS_AT(sk_err_soft, 180);
RETRANS_AT(ca_name, 184);
_Static_assert(sizeof(struct retrans_record) == 200, "record");

/* The length of the shortest record. */
#define RETRANS_CORE_LENGTH 80

/* How the owner of a socket was determined. */
enum retrans_owner_source {
	RETRANS_OWNER_CONNECT = 1,
	RETRANS_OWNER_ACCEPT = 2,
	RETRANS_OWNER_HOLDER = 3,
};

/* The process that a socket belongs to. */
struct retrans_owner {
	__u32 pid;   /* 0: no process, or several */
	__u8 source; /* enum retrans_owner_source */
	__u8 zero[3];
	__u8 comm[16]; /* NUL-terminated unless full */
};

/* The record that is written if owners are requested. */
struct retrans_owned_record {
	struct retrans_record record;
	struct retrans_owner owner;
};

_Static_assert(sizeof(struct retrans_owner) == 24, "owner");
_Static_assert(__builtin_offsetof(struct retrans_owner, source) == 4, "source");
_Static_assert(__builtin_offsetof(struct retrans_owner, comm) == 8, "comm");
_Static_assert(sizeof(struct retrans_owned_record) == 224, "owned record");

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
 * and one slot for every other number.
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
 * The expected increase of the kernel's own counters in one network namespace, to be reconciled
 * with them.
 */
struct retrans_netns_stats {
	__u64 retrans_segs;
	__u64 retrans_fail;
	__u64 syn_retrans;
	__u64 in_host_queue;
	/* Attempts for which it is not known whether the kernel counted them. */
	struct retrans_count unknown;
};

/* One per CPU; seen = filtered + limited + lost + submitted. */
struct retrans_counters {
	__u64 seen;
	__u64 filtered;
	__u64 limited;
	__u64 lost;
	__u64 submitted;
	struct retrans_count counts[RETRANS_RESULT_SLOTS][RETRANS_KIND_SLOTS];
	struct retrans_count transmits[RETRANS_TRANSMIT_SLOTS];
	struct retrans_netns_stats netns; /* of the namespace that is reconciled */
};

_Static_assert(sizeof(struct retrans_counters) == 40 + 32 * 16 * 16 + 4 * 16 + 48, "counters");

/*
 * Operands of the filter, in groups: connection, segment, full socket, subtrees.
 */
enum retrans_fact {
	RETRANS_FACT_TS = 0, /* CLOCK_BOOTTIME, ns */
	RETRANS_FACT_RESULT = 1,
	RETRANS_FACT_ERR = 2, /* sign bit flipped, like every signed operand */
	RETRANS_FACT_KIND = 3,
	RETRANS_FACT_INET = 4, /* 1: IPv4, mapped included; 0: IPv6 */
	RETRANS_FACT_SADDR_HIGH = 5,
	RETRANS_FACT_SADDR_LOW = 6, /* the whole of an IPv4 address */
	RETRANS_FACT_SPORT = 7,
	RETRANS_FACT_DADDR_HIGH = 8,
	RETRANS_FACT_DADDR_LOW = 9,
	RETRANS_FACT_DPORT = 10,
	RETRANS_FACT_STATE = 11,
	RETRANS_FACT_SEGS = 12,
	RETRANS_FACT_MAPPED = 13, /* 1, or absent */
	RETRANS_FACT_COOKIE = 14,
	RETRANS_FACT_NETNS = 15,
	RETRANS_FACT_CGROUP = 16,
	RETRANS_FACT_UID = 17,
	/* 1: in the application's socket set; absent if the cookie is */
	RETRANS_FACT_OWN_SOCKET = 18,
	RETRANS_FACT_TRANSMIT = 19,
	RETRANS_FACT_MARK = 20,
	RETRANS_FACT_BOUND_DEV_IF = 21,
	RETRANS_FACT_NETNS_COOKIE = 22,

	RETRANS_FACT_SEQ = 32,
	RETRANS_FACT_END_SEQ = 33,
	RETRANS_FACT_LEN = 34,
	RETRANS_FACT_TCP_FLAGS = 35,

	RETRANS_FACT_SND_UNA = 48,
	RETRANS_FACT_SND_NXT = 49,
	RETRANS_FACT_SND_WND = 50,
	RETRANS_FACT_SND_CWND = 51,
	RETRANS_FACT_SSTHRESH = 52,
	RETRANS_FACT_SRTT_US = 53,
	RETRANS_FACT_RTO_US = 54,
	RETRANS_FACT_MSS = 55,
	RETRANS_FACT_RETRANS_OUT = 56,
	RETRANS_FACT_TOTAL_RETRANS = 57,
	RETRANS_FACT_WMEM_QUEUED = 58,
	RETRANS_FACT_CA_STATE = 59,
	RETRANS_FACT_RETRANSMITS = 60,
	RETRANS_FACT_BACKOFF = 61,
	RETRANS_FACT_PENDING = 62,
	RETRANS_FACT_CA_NAME_HEAD = 63, /* the first eight bytes, in memory order */
	RETRANS_FACT_CA_NAME_TAIL = 64,
	RETRANS_FACT_SK_ERR_SOFT = 65,

	/* Plus k: 1 if the cgroup is in the subtree retrans_filter.subtrees[k]; absent if it is. */
	RETRANS_FACT_SUBTREE = 128,
};

#define RETRANS_TEST_FETCH	  0x01 /* the operand differs from the previous test's */
#define RETRANS_TEST_ENDS_OPERAND 0x02
#define RETRANS_TEST_ENDS_TERM	  0x04 /* implies ENDS_OPERAND */
#define RETRANS_TEST_ENDS_CLAUSE  0x08 /* implies ENDS_TERM */
/* Valid only with ENDS_TERM; they apply to the term. */
#define RETRANS_TEST_NEGATED   0x10
#define RETRANS_TEST_OR_ABSENT 0x20 /* not together with NEGATED */

/* Tests whether an operand is in the inclusive range low..high. Empty if low > high. */
struct retrans_test {
	__u64 low;
	__u64 high;
	__u8 fact; /* enum retrans_fact */
	__u8 flags;
	__u8 zero[6];
};

#define RETRANS_MAX_TESTS    512
#define RETRANS_MAX_SUBTREES 16
/* A cgroup is searched for at this many levels below the root: more than hosts use. */
#define RETRANS_MAX_CGROUP_LEVELS 32

/*
 * An attempt passes if any clause is true, or if there is no test. A clause is true if all of its
 * terms are, a term if any of its operands is, an operand if all of its tests are.
 */
struct retrans_filter {
	__u32 used;
	__u32 subtrees_used;
	__u64 own_socket_used;		      /* 1 if RETRANS_FACT_OWN_SOCKET is tested */
	__u64 ts_used;			      /* 1 if RETRANS_FACT_TS is tested */
	__u64 subtrees[RETRANS_MAX_SUBTREES]; /* ids of cgroups */
	struct retrans_test tests[RETRANS_MAX_TESTS];
};

_Static_assert(sizeof(struct retrans_test) == 24, "test");
_Static_assert(sizeof(struct retrans_filter) == 24 + 16 * 8 + 512 * 24, "filter");

#endif /* RETRANS_H */
