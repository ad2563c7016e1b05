// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records the owners of sockets. This is a separate object, and each of its programs is optional.
 * The programs at connect and accept read the current task only where it belongs to the process
 * that uses the socket.
 *
 * The scan of file descriptors is a task_file iterator. The reason is in
 * retrans-sdk/src/kernel/socket_owners.rs.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "owners.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * The PID namespace of the application, by inode number. All process ids are numbers in this
 * namespace.
 */
const volatile __u32 pid_namespace = 0;

/* include/linux/sched.h: a kernel thread */
#define PF_KTHREAD 0x00200000

/* include/linux/pid_namespace.h: the maximum nesting depth below the first namespace */
#define MAX_PID_NS_LEVEL 32

/*
 * Returns the process id, or 0 if the process is not visible in the namespace. Uses the probe
 * helper, because not all verifiers know the types that a task points to.
 */
static __always_inline __u32 pid_of(const struct task_struct *leader)
{
	const struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i <= MAX_PID_NS_LEVEL; i++) {
		__u64 at =
		    bpf_core_field_offset(pid->numbers) + i * bpf_core_type_size(struct upid);
		const struct upid *upid = (const void *)((const char *)pid + at);

		if (i > level)
			break;
		if (BPF_CORE_READ(upid, ns, ns.inum) == pid_namespace)
			return BPF_CORE_READ(upid, nr);
	}
	return 0;
}

/* Returns false for kernel threads and for processes that are not visible in the namespace. */
static __always_inline bool read_process(const struct task_struct *task, struct retrans_owner *to)
{
	const struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
	to->pid = pid_of(leader);
	BPF_CORE_READ_INTO(&to->comm, leader, comm);
	return to->pid;
}

/* Records the current process as the owner of a socket. */
static __always_inline void record_owner(const struct sock *sk, enum retrans_owner_source source)
{
	const struct task_struct *task = (const void *)bpf_get_current_task();
	__u64 cookie = bpf_get_socket_cookie((void *)sk);
	struct owner owner = {.process.source = source, .cookie = cookie};

	/*
	 * Kernel sockets, such as MPTCP subflows, are created in the context of any process, which
	 * is not their owner.
	 */
	if (!BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock) && read_process(task, &owner.process))
		bpf_map_update_elem(&rt_owners, &cookie, &owner, BPF_ANY);
	else
		bpf_map_delete_elem(&rt_owners, &cookie);
}

/*
 * A socket enters the state SYN_SENT only in tcp_v4_connect() and tcp_v6_connect(). There the
 * current process is the owner: it has called connect(), or sendmsg() with Fast Open. Other changes
 * of the state happen in the context of any process.
 */
SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(rt_connect, const struct sock *sk, int old_state, int state)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (state == TCP_SYN_SENT) {
		record_owner(sk, RETRANS_OWNER_CONNECT);
	} else if (state == TCP_ESTABLISHED) {
		/*
		 * Creates the cookie. A file-descriptor scan needs it, and kprobes cannot create
		 * it.
		 */
		bpf_get_socket_cookie((void *)sk);
	} else if (state == TCP_CLOSE) {
		__u64 cookie = sk->__sk_common.skc_cookie.counter;

		/*
		 * A closed socket sends nothing. Removing its element makes room for other sockets.
		 */
		if (cookie)
			bpf_map_delete_elem(&rt_owners, &cookie);
	}
	return 0;
}

static __always_inline int handle_accept(const struct sock *sk)
{
	if (sk && sk->sk_protocol == IPPROTO_TCP)
		record_owner(sk, RETRANS_OWNER_ACCEPT);
	return 0;
}

/*
 * inet_csk_accept() has four parameters before v6.10 (92ef0fd55ac8) and two since. It returns the
 * socket, or NULL.
 */
SEC("?fexit/inet_csk_accept")
int BPF_PROG(rt_accept_args4, const struct sock *listener, int flags, int *err, bool kern,
	     const struct sock *sk)
{
	return handle_accept(sk);
}

SEC("?fexit/inet_csk_accept")
int BPF_PROG(rt_accept_args2, const struct sock *listener, void *arg, const struct sock *sk)
{
	return handle_accept(sk);
}

/* Returns the TCP socket of a file if it may have data to send, else NULL. */
static __always_inline const struct sock *sending_socket(struct file *file)
{
	const struct socket *socket = bpf_sock_from_file(file);
	const struct sock *sk;

	if (!socket)
		return NULL;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return NULL;
	if (sk->__sk_common.skc_state == TCP_CLOSE || sk->__sk_common.skc_state == TCP_LISTEN)
		return NULL;
	return sk;
}

/*
 * Scans the file descriptors of all processes. A socket that exactly one process holds is owned by
 * that process. If several processes hold it, the owner is unknown. Owners recorded at connect and
 * accept are kept. The first scan covers all sockets. Later scans cover only the sockets for which
 * there is an element in the map: user space adds one to request a socket. On a host with more
 * sockets than the map can hold, further sockets would evict owners that cannot be found again.
 */
SEC("?iter/task_file")
int rt_scan_fds(struct bpf_iter__task_file *ctx)
{
	const struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct owner holder = {.process.source = RETRANS_OWNER_HOLDER};
	const struct sock *sk;
	__u64 cookie = NO_COOKIE;
	struct owner *known;
	__u64 scans;

	if (!file) {
		/* The end of the scan. */
		holder.process.source = 0;
		holder.scan = ctx->meta->session_id;
		bpf_map_update_elem(&rt_owners, &cookie, &holder, BPF_ANY);
		return 0;
	}
	if (!task)
		return 0;
	sk = sending_socket(file);
	if (!sk || !read_process(task, &holder.process))
		return 0;
	holder.scan = ctx->meta->session_id;
	known = bpf_map_lookup_elem(&rt_owners, &cookie);
	scans = known ? known->scan : 0;
	cookie = bpf_get_socket_cookie((void *)sk);
	holder.cookie = cookie;
	known = bpf_map_lookup_elem(&rt_owners, &cookie);
	if (!known) {
		/* The barrier keeps clang from merging both checks by pointer arithmetic. */
		barrier_var(scans);
		if (!scans)
			bpf_map_update_elem(&rt_owners, &cookie, &holder, BPF_NOEXIST);
		return 0;
	}
	if (known->process.source != RETRANS_OWNER_HOLDER)
		return 0;
	else if (known->scan != holder.scan)
		bpf_map_update_elem(&rt_owners, &cookie, &holder, BPF_ANY);
	else if (known->process.pid != holder.process.pid && known->cookie == cookie)
		known->process.pid = 0;
	return 0;
}
