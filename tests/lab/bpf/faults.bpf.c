// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Faults for the attempts of one socket, selected by its mark. They override the return values of
 * two functions for which the kernel permits it (ALLOW_ERROR_INJECTION): the function of failslab,
 * and the hook of tests/kernels/patches. The kernel does the rest.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* The same values as in tests/lab/src/injection.rs. */
#define FAULT_MARK 0x72730000

enum fault {
	FAULT_NONE = 0,
	/* Allocations fail during an attempt. */
	FAULT_NO_MEMORY = 1,
	/* The segment's headroom is too large, and the allocation of the required copy fails. */
	FAULT_NO_COPY = 2,
	/* The segment ends before snd_una. */
	FAULT_END_SEQ = 3,
	/* The hook cancels the attempt. */
	FAULT_CANCEL = 4,
};

#define ENOMEM	  12
#define EFBIG	  27
#define ERANGE	  34
#define ECANCELED 125

char LICENSE[] SEC("license") = "GPL";

/*
 * The attempt in flight on this CPU. These kernels do not preempt, and a softirq does not interrupt
 * another softirq.
 */
struct in_flight {
	enum fault fault;
	bool copying;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct in_flight);
} in_flight SEC(".maps");

static __always_inline struct in_flight *current_attempt(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&in_flight, &zero);
}

static __always_inline enum fault fault_of(const struct sock *sk)
{
	__u32 mark = sk->sk_mark;

	return (mark & 0xffff0000) == FAULT_MARK ? (enum fault)(mark & 0xffff) : FAULT_NONE;
}

/* Not tcp_retransmit_skb(), which a tail loss probe does not call. */
SEC("fentry/__tcp_retransmit_skb")
int attempt_begins(__u64 *ctx)
{
	struct in_flight *now = current_attempt();

	if (now) {
		now->fault = fault_of((const void *)ctx[0]);
		now->copying = false;
	}
	return 0;
}

SEC("fexit/__tcp_retransmit_skb")
int attempt_ends(__u64 *ctx)
{
	struct in_flight *now = current_attempt();

	if (now)
		now->fault = FAULT_NONE;
	return 0;
}

SEC("fentry/__pskb_copy_fclone")
int copy_begins(__u64 *ctx)
{
	struct in_flight *now = current_attempt();

	if (now)
		now->copying = true;
	return 0;
}

SEC("fexit/__pskb_copy_fclone")
int copy_ends(__u64 *ctx)
{
	struct in_flight *now = current_attempt();

	if (now)
		now->copying = false;
	return 0;
}

/* Arguments: s, flags, and the return value of earlier programs. */
SEC("fmod_ret/should_failslab")
int should_fail(__u64 *ctx)
{
	struct in_flight *now = current_attempt();

	if (now && (now->fault == FAULT_NO_MEMORY || (now->fault == FAULT_NO_COPY && now->copying)))
		return -ENOMEM;
	return (int)ctx[2];
}

/* Arguments: sk, skb, and the return value of earlier programs. */
SEC("fmod_ret/tcp_retransmit_spoil")
int spoil(__u64 *ctx)
{
	switch (fault_of((const void *)ctx[0])) {
	case FAULT_NO_COPY:
		return -EFBIG;
	case FAULT_END_SEQ:
		return -ERANGE;
	case FAULT_CANCEL:
		return -ECANCELED;
	default:
		return (int)ctx[2];
	}
}
