/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which process a task is of. By probe: what a task points at has no type for all verifiers. */
#ifndef RETRANS_PROCESS_BPF_H
#define RETRANS_PROCESS_BPF_H

/* The PID namespace in which processes are numbered, by its inode number: the application's. */
const volatile __u32 pid_namespace = 0;

/* include/linux/sched.h: a task of the kernel's own */
#define PF_KTHREAD 0x00200000

/* include/linux/pid_namespace.h: how deep they may be nested, below the first */
#define MAX_PID_NS_LEVEL 32

/* 0 of a process that the namespace does not show. */
static __always_inline __u32 number_of(const struct task_struct *leader)
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

/* False if it has none, or none that the namespace shows. */
static __always_inline bool read_process(const struct task_struct *task, struct retrans_owner *to)
{
	const struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
	to->pid = number_of(leader);
	BPF_CORE_READ_INTO(&to->comm, leader, comm);
	return to->pid;
}

#endif /* RETRANS_PROCESS_BPF_H */
