/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The same with kprobes. At the return the arguments are gone, so the entry keeps them, by where on
 * the stack the return address is: that tells nested and migrated calls apart, and a return that
 * was missed is not taken for the next one, as with a stack of calls it would be.
 */
#ifndef RETRANS_KRETPROBE_BPF_H
#define RETRANS_KRETPROBE_BPF_H

struct arguments {
	const struct sock *sk;
	const struct sk_buff *skb;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_UNDERWAY);
	__type(key, __u64); /* the stack pointer at the entry */
	__type(value, struct arguments);
} entered SEC(".maps");

/* Whose registers vmlinux.h has. Elsewhere user space does not offer this source. */
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)

static __always_inline int kprobe(struct pt_regs *ctx, bool outer)
{
	struct arguments arguments = {
	    .sk = (const void *)PT_REGS_PARM1(ctx),
	    .skb = (const void *)PT_REGS_PARM2(ctx),
	};
	const struct tcp_sock *tp = (const void *)arguments.sk;
	const struct attempt a = {.sk = arguments.sk, .probing = true};
	__u64 key = PT_REGS_SP(ctx);

	/* What cannot be found again at the return is not begun. */
	if (bpf_map_update_elem(&entered, &key, &arguments, 0))
		return 0;
	begin(arguments.sk, BPF_CORE_READ(tp, total_retrans), is_backlogged(&a), outer);
	return 0;
}

static __always_inline int kretprobe(struct pt_regs *ctx, bool outer)
{
	__u64 key = PT_REGS_SP(ctx);
	struct arguments *arguments;
	struct attempt a = {.has_err = true, .probing = true};

#if defined(__TARGET_ARCH_x86)
	/* The return has taken its address off the stack. */
	key -= sizeof(__u64);
#endif
	arguments = bpf_map_lookup_elem(&entered, &key);
	if (!arguments)
		return 0;
	a.sk = arguments->sk;
	a.skc = (const void *)a.sk;
	a.tp = (const void *)a.sk;
	a.skb = arguments->skb;
	a.err = (int)PT_REGS_RC(ctx);
	bpf_map_delete_elem(&entered, &key);
	return returned(&a, outer);
}

#else

static __always_inline int kprobe(void *ctx, bool outer)
{
	return 0;
}

static __always_inline int kretprobe(void *ctx, bool outer)
{
	return 0;
}

#endif

SEC("?kprobe/tcp_retransmit_skb")
int kprobe_outer(struct pt_regs *ctx)
{
	return kprobe(ctx, true);
}

SEC("?kretprobe/tcp_retransmit_skb")
int kretprobe_outer(struct pt_regs *ctx)
{
	return kretprobe(ctx, true);
}

SEC("?kprobe/__tcp_retransmit_skb")
int kprobe_inner(struct pt_regs *ctx)
{
	return kprobe(ctx, false);
}

SEC("?kretprobe/__tcp_retransmit_skb")
int kretprobe_inner(struct pt_regs *ctx)
{
	return kretprobe(ctx, false);
}

#endif /* RETRANS_KRETPROBE_BPF_H */
