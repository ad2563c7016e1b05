// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Who sockets belong to: an object of its own, since each of its programs is there or not for
 * itself. Where a program looks at the current task, the hook is one that runs in the process's own
 * context and nowhere else.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "owners.bpf.h"
#include "process.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What the current process did to a socket. */
static __always_inline void learn(const struct sock *sk, enum retrans_owner_source source)
{
	const struct task_struct *task = (const void *)bpf_get_current_task();
	__u64 cookie = bpf_get_socket_cookie((void *)sk);
	struct owner owner = {.told.source = source, .cookie = cookie};

	/* The kernel's own, such as a subflow of MPTCP's: whoever asks for it may be anybody. */
	if (!BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock) && read_process(task, &owner.told))
		bpf_map_update_elem(&owners, &cookie, &owner, BPF_ANY);
	else
		bpf_map_delete_elem(&owners, &cookie);
}

/*
 * A socket becomes SYN_SENT in tcp_v4_connect() and tcp_v6_connect() only: one of a process in the
 * context of its connect(), or of a sendmsg() that opens fast. Other changes happen in any.
 */
SEC("?tp_btf/inet_sock_set_state")
int connect(__u64 *ctx)
{
	const struct sock *sk = (const void *)ctx[0];
	int state = (int)ctx[2];

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (state == TCP_SYN_SENT) {
		learn(sk, RETRANS_OWNER_CONNECT);
	} else if (state == TCP_ESTABLISHED) {
		/* Names nobody. Kprobes cannot ask for a cookie, and a walk is for one. */
		bpf_get_socket_cookie((void *)sk);
	} else if (state == TCP_CLOSE) {
		__u64 cookie = sk->__sk_common.skc_cookie.counter;

		/* It has nothing to send any more; makes room for others. */
		if (cookie)
			bpf_map_delete_elem(&owners, &cookie);
	}
	return 0;
}

static __always_inline int accepted(const struct sock *sk)
{
	if (sk && sk->sk_protocol == IPPROTO_TCP)
		learn(sk, RETRANS_OWNER_ACCEPT);
	return 0;
}

/* sk, flags, err, kern; since v6.10 (92ef0fd55ac8) sk, arg. It gives the socket, or NULL. */
SEC("?fexit/inet_csk_accept")
int accept_of_four(__u64 *ctx)
{
	return accepted((const void *)ctx[4]);
}

SEC("?fexit/inet_csk_accept")
int accept_of_two(__u64 *ctx)
{
	return accepted((const void *)ctx[2]);
}

/* The socket behind a descriptor, if it is one of TCP that may have something to send. */
static __always_inline const struct sock *sending_socket(struct file *file)
{
	const struct socket *socket = bpf_sock_from_file(file);
	const struct sock *sk;

	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (sk->__sk_common.skc_state == TCP_CLOSE || sk->__sk_common.skc_state == TCP_LISTEN)
		return 0;
	return sk;
}

/*
 * A walk over the descriptors of all processes. A socket that one process alone holds is its; of
 * one that several hold nobody can say. What was seen at connect and accept stands. The first walk
 * is for all sockets, the later ones for those that somebody asks for: on a host with more of them
 * than there is room, they would push out what cannot be learned again.
 */
SEC("?iter/task_file")
int walk(struct bpf_iter__task_file *ctx)
{
	const struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner holder = {.told.source = RETRANS_OWNER_HOLDER};
	const struct sock *sk;
	__u64 cookie = NO_COOKIE;
	struct owner *known;
	__u64 walks;

	if (!file) {
		/* It is over. */
		holder.told.source = 0;
		holder.walk = ctx->meta->session_id;
		bpf_map_update_elem(&owners, &cookie, &holder, BPF_ANY);
		return 0;
	}
	if (!task)
		return 0;
	sk = sending_socket(file);
	if (!sk || !read_process(task, &holder.told))
		return 0;
	holder.walk = ctx->meta->session_id;
	known = bpf_map_lookup_elem(&owners, &cookie);
	walks = known ? known->walk : 0;
	cookie = bpf_get_socket_cookie((void *)sk);
	holder.cookie = cookie;
	known = bpf_map_lookup_elem(&owners, &cookie);
	if (!known) {
		/* Behind the barrier clang cannot ask both at once, by arithmetic on a pointer. */
		barrier_var(walks);
		if (!walks)
			bpf_map_update_elem(&owners, &cookie, &holder, BPF_NOEXIST);
		return 0;
	}
	if (known->told.source != RETRANS_OWNER_HOLDER)
		return 0;
	else if (known->walk != holder.walk)
		bpf_map_update_elem(&owners, &cookie, &holder, BPF_ANY);
	else if (known->told.pid != holder.told.pid && known->cookie == cookie)
		known->told.pid = 0;
	return 0;
}
