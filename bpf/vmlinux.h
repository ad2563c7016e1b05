/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that the programs access, reduced to the members that they access. The offsets
 * are from the running kernel, because CO-RE relocates every access.
 *
 * bpf_tracing.h checks for this include guard to select the kernel's struct pt_regs.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef _Bool bool;

#define NULL ((void *)0)

enum {
	false = 0,
	true = 1,
};

/* uapi/linux/bpf.h: the values are ABI. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_MMAPABLE = 1 << 10,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long si;
	unsigned long di;
	unsigned long ax;
	unsigned long sp;
};

/* arch/arm64/include/uapi/asm/ptrace.h */
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	union {
		__u32 skc_portpair;
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	/* One per level, including the cgroup itself (since v6.1). */
	struct cgroup *ancestors[1];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct net_device {
	int ifindex;
	char name[16];
};

struct dst_entry {
	struct net_device *dev;
};

struct timer_list {
	unsigned long expires;
};

typedef struct {
	unsigned int val;
} kuid_t;

struct sock {
	struct sock_common __sk_common;
	refcount_t sk_wmem_alloc;
	int sk_sndbuf;
	struct dst_entry *sk_dst_cache;
	int sk_wmem_queued;
	int sk_err_soft;
	__u32 sk_mark;
	__u32 sk_priority;
	unsigned long sk_pacing_rate;
	int sk_err;
	__u8 sk_shutdown;
	kuid_t sk_uid;
	__u16 sk_protocol;
	__u8 sk_kern_sock : 1;
	struct sock_cgroup_data sk_cgrp_data;
};

struct ipv6_pinfo {
	__u8 tclass;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	__be16 inet_sport;
	__u8 tos;
};

struct tcp_congestion_ops {
	char name[16];
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u32 icsk_rto;
	const struct tcp_congestion_ops *icsk_ca_ops;
	__u8 icsk_ca_state : 5;
	__u8 icsk_retransmits;
	__u8 icsk_pending;
	__u8 icsk_backoff;
	__u32 icsk_pmtu_cookie;
	__u8 icsk_probes_out;
	__u32 icsk_user_timeout;
	struct {
		u32 enabled : 1;
	} icsk_mtup;
};

struct minmax_sample {
	u32 t;
	u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_options_received {
	u32 rcv_tsecr;
	u16 saw_tstamp : 1;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 snd_wnd;
	u32 snd_cwnd;
	u32 snd_ssthresh;
	u32 srtt_us;
	u32 mss_cache;
	u32 retrans_out;
	u32 total_retrans;
	u32 tlp_high_seq;
	u32 high_seq;
	u32 retrans_stamp;
	u32 undo_marker;
	u32 prior_ssthresh;
	u32 mtu_info;
	u32 segs_in;
	u64 bytes_acked;
	u64 tcp_wstamp_ns;
	u64 tcp_clock_cache;
	struct request_sock *fastopen_rsk;
	__u8 syn_data : 1;
	u32 packets_out;
	u32 lost_out;
	u32 sacked_out;
	u32 reordering;
	u32 dsack_dups;
	int undo_retrans;
	u32 delivered;
	u64 bytes_retrans;
	struct minmax rtt_min;
	struct tcp_options_received rx_opt;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	union {
		u64 skb_mstamp_ns;
	};
	char cb[48];
	unsigned int len;
	__u8 encapsulation : 1;
	__u16 inner_transport_header;
	__u16 transport_header;
	unsigned char *head;
	unsigned char *data;
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	union {
		struct {
			u16 tcp_gso_segs;
		};
	};
	/* Its size differs between kernels. */
	__u16 tcp_flags;
	__u8 sacked;
};

/* Before v6.15, which added the flag AE. */
struct tcp_skb_cb___u8 {
	__u8 tcp_flags;
};

struct request_sock_ops {
	int family;
};

struct request_sock {
	struct sock_common __req_common;
	const struct request_sock_ops *rsk_ops;
};

struct socket {
	struct sock *sk;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	/* One element for each level from 0 to `level`. */
	struct upid numbers[1];
};

struct task_struct {
	unsigned int flags;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	char comm[16];
};

struct file;

struct bpf_iter_meta {
	u64 session_id;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

struct inet_request_sock {
	struct request_sock req;
	u32 ir_mark;
};

struct tcp_request_sock {
	struct inet_request_sock req;
};

#pragma clang attribute pop

/* Flags of bpf_ringbuf_submit() and bpf_ringbuf_query(). */
enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
};

#endif /* __VMLINUX_H__ */
