/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What takes more than one load, and what the filter asks of an attempt. */
#ifndef RETRANS_READ_BPF_H
#define RETRANS_READ_BPF_H

/* One tick in nanoseconds: icsk_rto is in jiffies, and BTF does not know CONFIG_HZ. */
const volatile __u64 tick_ns = 4000000;

/*
 * Whether programs like these may call bpf_get_socket_cookie(): since v5.12 (c5dbb89fc2ac). User
 * space looks for the function in BTF.
 */
const volatile bool has_cookie_helper = true;

static __always_inline __u32 netns_of(const struct attempt *a)
{
	const struct net *net = LOAD(a->sk, __sk_common.skc_net.net);

	return LOAD(net, ns.inum);
}

/* A namespace before v5.12 (3d368ab87cf6): it has a cookie once somebody has asked for it. */
struct net___lazy {
	atomic64_t net_cookie;
} __attribute__((preserve_access_index));

static __always_inline __u64 netns_cookie_of(const struct attempt *a)
{
	const struct net *net = LOAD(a->sk, __sk_common.skc_net.net);
	const struct net___lazy *lazy = (const void *)net;

	if (bpf_core_field_exists(net->net_cookie))
		return LOAD(net, net_cookie);
	if (bpf_core_field_exists(lazy->net_cookie.counter))
		return LOAD(lazy, net_cookie.counter);
	return 0;
}

/* Of a SYN-ACK the request's, which goes out with it: the accepted socket takes it over. */
static __always_inline __u32 mark_of(const struct attempt *a)
{
	return a->tp ? LOAD(a->sk, sk_mark) : a->request_mark;
}

/*
 * Once somebody has asked a socket for its cookie, the socket has it. Without the helper there is
 * none before: 0.
 */
static __always_inline __u64 cookie_of(const struct attempt *a)
{
	__u64 cookie = LOAD(a->skc, skc_cookie.counter);

	if (!cookie && !a->probing && has_cookie_helper)
		return bpf_get_socket_cookie((void *)a->skc);
	return cookie;
}

/*
 * 0 before v5.15, where the pointer shares its bits with cgroup v1's data (8520e224f547); also if
 * it is NULL, which these programs may read through.
 */
static __always_inline __u64 cgroup_of(const struct attempt *a)
{
	const struct sock *sk = a->sk;
	const struct cgroup *cgroup;
	const struct kernfs_node *kn;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	cgroup = LOAD(sk, sk_cgrp_data.cgroup);
	kn = LOAD(cgroup, kn);
	return LOAD(kn, id);
}

/* Takes an attempt in scope; a member of the socket, which is no pointer of its own. */
#define LOAD_V6(to, skc, field)                                                                    \
	do {                                                                                       \
		if (a->probing) {                                                                  \
			const void *v6 =                                                           \
			    __builtin_preserve_access_index(&skc->field.in6_u.u6_addr8);           \
			__u64 head = probe(v6, 8), tail = probe(v6 + 8, 8);                        \
                                                                                                   \
			/* In memory order, little-endian as all machines with kprobes here. */    \
			(to)[0] = head;                                                            \
			(to)[1] = head >> 32;                                                      \
			(to)[2] = tail;                                                            \
			(to)[3] = tail >> 32;                                                      \
		} else {                                                                           \
			(to)[0] = skc->field.in6_u.u6_addr32[0];                                   \
			(to)[1] = skc->field.in6_u.u6_addr32[1];                                   \
			(to)[2] = skc->field.in6_u.u6_addr32[2];                                   \
			(to)[3] = skc->field.in6_u.u6_addr32[3];                                   \
		}                                                                                  \
	} while (0)

/* Without a branch, for the filter's sake. */
static __always_inline struct ends ends_of(const struct attempt *a)
{
	const struct sock_common *skc = a->skc;
	struct ends ends = {.family = LOAD(skc, skc_family)};
	__u64 v6 = mask_of(is_zero(ends.family ^ AF_INET6));

	/* The members are not there without CONFIG_IPV6. */
	if (bpf_core_field_exists(skc->skc_v6_daddr)) {
		LOAD_V6(ends.saddr.words, skc, skc_v6_rcv_saddr);
		LOAD_V6(ends.daddr.words, skc, skc_v6_daddr);
	}
	for (__u32 i = 0; i < 4; i++) {
		ends.saddr.words[i] &= v6;
		ends.daddr.words[i] &= v6;
	}
	ends.saddr.words[0] |= LOAD(skc, skc_rcv_saddr) & ~v6;
	ends.daddr.words[0] |= LOAD(skc, skc_daddr) & ~v6;
	return ends;
}

/* All of it: behind the name there are zeros. */
static __always_inline void read_ca_name(const struct attempt *a, __u8 to[16])
{
	const struct inet_connection_sock *icsk = &a->tp->inet_conn;
	const char *name = LOAD(icsk, icsk_ca_ops)->name;

	for (__u32 i = 0; i < 2; i++) {
		const __u64 *from = (const __u64 *)name + i;

		((__u64 *)to)[i] = a->probing ? probe(from, sizeof(*from)) : *from;
	}
}

/* A cgroup before v6.1 (7f203bc89eb6). */
struct cgroup___ids {
	__u64 ancestor_ids[1];
} __attribute__((preserve_access_index));

/*
 * The id of the cgroup that is so many levels below the root, itself included. By probe, since a
 * verifier may not know of an array at the end of a structure.
 */
static __always_inline __u64 cgroup_at(const struct cgroup *cgroup, __u32 level)
{
	const struct cgroup___ids *older = (const void *)cgroup;
	const struct cgroup *ancestor = 0;
	__u64 id = 0;

	if (bpf_core_field_exists(cgroup->ancestors)) {
		__u64 at = bpf_core_field_offset(cgroup->ancestors) + level * sizeof(ancestor);

		bpf_probe_read_kernel(&ancestor, sizeof(ancestor), (const char *)cgroup + at);
		return BPF_CORE_READ(ancestor, kn, id);
	}
	if (bpf_core_field_exists(older->ancestor_ids)) {
		__u64 at = bpf_core_field_offset(older->ancestor_ids) + level * sizeof(id);

		bpf_probe_read_kernel(&id, sizeof(id), (const char *)older + at);
	}
	return id;
}

#endif /* RETRANS_READ_BPF_H */
