/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fills a record from an attempt. Every byte of it is written: it goes to user space. */
#ifndef RETRANS_RECORD_BPF_H
#define RETRANS_RECORD_BPF_H

/* One tick in nanoseconds: icsk_rto is in jiffies, and BTF does not know CONFIG_HZ. */
const volatile __u64 tick_ns = 4000000;

/*
 * Whether programs like these may call bpf_get_socket_cookie(): since v5.12 (c5dbb89fc2ac). User
 * space looks for the function in BTF.
 */
const volatile bool has_cookie_helper = true;

/* Otherwise only the cookie of a socket that somebody has asked for one: 0 of any other. */
static __always_inline __u64 cookie_of(const struct attempt *a)
{
	if (!a->probing && has_cookie_helper)
		return bpf_get_socket_cookie((void *)a->skc);
	return LOAD(a->skc, skc_cookie.counter);
}

/* False without CONFIG_IPV6, where the members do not exist either. */
static __always_inline bool is_mapped(const struct attempt *a)
{
	const struct sock_common *skc = a->skc;

	if (!bpf_core_field_exists(skc->skc_v6_daddr))
		return false;
	return !LOAD(skc, skc_v6_daddr.in6_u.u6_addr32[0]) &&
	       !LOAD(skc, skc_v6_daddr.in6_u.u6_addr32[1]) &&
	       LOAD(skc, skc_v6_daddr.in6_u.u6_addr32[2]) == bpf_htonl(0xffff);
}

/* Takes an attempt in scope; a member of the socket, which is no pointer of its own. */
#define PUT_V6(to, skc, field)                                                                     \
	do {                                                                                       \
		__u32 *words = (__u32 *)(to);                                                      \
		words[0] = LOAD(skc, field.in6_u.u6_addr32[0]);                                    \
		words[1] = LOAD(skc, field.in6_u.u6_addr32[1]);                                    \
		words[2] = LOAD(skc, field.in6_u.u6_addr32[2]);                                    \
		words[3] = LOAD(skc, field.in6_u.u6_addr32[3]);                                    \
	} while (0)

static __always_inline void put_v4(__u8 *to, __be32 from)
{
	__u32 *words = (__u32 *)to;

	words[0] = from;
	words[1] = 0;
	words[2] = 0;
	words[3] = 0;
}

static __always_inline void put_addresses(struct retrans_record *r, const struct attempt *a)
{
	const struct sock_common *skc = a->skc;

	r->family = LOAD(skc, skc_family);
	if (r->family == AF_INET6 && bpf_core_field_exists(skc->skc_v6_daddr)) {
		PUT_V6(r->saddr, skc, skc_v6_rcv_saddr);
		PUT_V6(r->daddr, skc, skc_v6_daddr);
	} else {
		put_v4(r->saddr, LOAD(skc, skc_rcv_saddr));
		put_v4(r->daddr, LOAD(skc, skc_daddr));
	}
}

static __always_inline void put_tcp(struct retrans_record *r, const struct attempt *a)
{
	const struct tcp_sock *tp = a->tp;
	const struct inet_connection_sock *icsk = &tp->inet_conn;

	r->snd_una = LOAD(tp, snd_una);
	r->snd_nxt = LOAD(tp, snd_nxt);
	r->snd_wnd = LOAD(tp, snd_wnd);
	r->snd_cwnd = LOAD(tp, snd_cwnd);
	r->ssthresh = LOAD(tp, snd_ssthresh);
	r->srtt_us = LOAD(tp, srtt_us) >> 3; /* kept in eighths */
	r->rto_us = LOAD(icsk, icsk_rto) * tick_ns / 1000;
	r->mss = LOAD(tp, mss_cache);
	r->retrans_out = LOAD(tp, retrans_out) - a->retrans_out_added;
	r->total_retrans = LOAD(tp, total_retrans);
	r->wmem_queued = LOAD(a->sk, sk_wmem_queued);
	r->ca_state = a->ca_state;
	r->retransmits = LOAD(icsk, icsk_retransmits);
	r->backoff = LOAD(icsk, icsk_backoff);
	r->pending = LOAD(icsk, icsk_pending);
	bpf_probe_read_kernel_str(r->ca_name, sizeof(r->ca_name), LOAD(icsk, icsk_ca_ops)->name);
}

static __always_inline void put_record(struct retrans_record *r, const struct attempt *a)
{
	__u64 present = 1ull << RETRANS_FIELD_NETNS;
	__u64 cookie = cookie_of(a);
	const struct sock *sk = a->sk;
	const struct net *net;

	__builtin_memset(r, 0, sizeof(*r));
	r->header.length = sizeof(*r);
	r->header.version = RETRANS_RECORD_VERSION;

	r->ts = bpf_ktime_get_boot_ns();
	r->result = a->result;
	if (a->has_err) {
		r->err = a->err;
		present |= 1ull << RETRANS_FIELD_ERR;
	}
	r->segs = a->segs;
	r->kind = a->kind;
	r->state = a->state;
	r->sport = LOAD(a->skc, skc_num);
	r->dport = bpf_ntohs(LOAD(a->skc, skc_dport));
	put_addresses(r, a);

	net = LOAD(sk, __sk_common.skc_net.net);
	r->netns = LOAD(net, ns.inum);
	if (cookie) {
		r->cookie = cookie;
		present |= 1ull << RETRANS_FIELD_COOKIE;
	}
	/* Absent before v5.15, where the pointer shares its bits with cgroup v1's data
	 * (8520e224f547). */
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) {
		const struct cgroup *cgroup = LOAD(sk, sk_cgrp_data.cgroup);

		if (cgroup) {
			const struct kernfs_node *kn = LOAD(cgroup, kn);

			r->cgroup = LOAD(kn, id);
			present |= 1ull << RETRANS_FIELD_CGROUP;
		}
	}
	if (a->tp) {
		r->seq = a->seq;
		r->end_seq = a->end_seq;
		r->len = LOAD(a->skb, len);
		r->tcp_flags = a->tcp_flags;
		put_tcp(r, a);
		r->sk_err_soft = LOAD(sk, sk_err_soft);
		present |= 1ull << RETRANS_FIELD_SKB | 1ull << RETRANS_FIELD_TCP |
			   1ull << RETRANS_FIELD_ERR_SOFT;
	}
	r->header.present = present;
}

#endif /* RETRANS_RECORD_BPF_H */
