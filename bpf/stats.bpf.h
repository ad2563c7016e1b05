/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The counters, one element per CPU. The additions are atomic, because a softirq may run one of
 * these programs inside another one on the same CPU.
 *
 * The map is an array with an element per CPU and not a per-CPU map, because a per-CPU map cannot
 * be memory-mapped. User space reads the mapped memory without a system call. This requires no
 * capability and works after the stream is closed.
 *
 * Results and kinds are counted before the filter, so that they always add up to `seen`. If there
 * is a filter, the attempts that pass it are counted a second time, in rt_passed. This happens
 * before the rate limit. Without a filter both counts would be equal, so rt_passed is not used.
 *
 * The sums of a network namespace (reconciled_netns) are also counted before the filter. Therefore
 * neither the filter nor lost records affect a reconciliation with the kernel's counters. A stream
 * that does not reconcile has no extra cost.
 */
#ifndef RETRANS_STATS_BPF_H
#define RETRANS_STATS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "tcp_defs.bpf.h"
#include "attempt.bpf.h"
#include "classify.bpf.h"
#include "kread.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at open to the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct retrans_counters);
} rt_counters SEC(".maps");

/* The number of elements of rt_counters and rt_passed. */
const volatile __u32 cpus = 1;

/* The attempts that passed the filter. Used only if there is a filter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at open to the number of possible CPUs, if it is used */
	__type(key, __u32);
	__type(value, struct retrans_passed);
} rt_passed SEC(".maps");

static __always_inline __u32 element_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	/*
	 * CPU numbers may have gaps, so a number may exceed the number of elements. Two CPUs may
	 * share an element, because the additions are atomic.
	 */
	if (cpu >= cpus)
		cpu %= cpus;
	return cpu;
}

static __always_inline struct retrans_counters *counters_of_cpu(void)
{
	__u32 element = element_of_cpu();

	return bpf_map_lookup_elem(&rt_counters, &element);
}

static __always_inline void count(__u64 *counter, __u64 by)
{
	__sync_fetch_and_add(counter, by);
}

static __always_inline void
count_result(struct retrans_count counts[RETRANS_RESULT_SLOTS][RETRANS_KIND_SLOTS],
	     const struct attempt *a)
{
	__u64 slot = result_slot(a->result);
	__u64 kind = a->kind;
	struct retrans_count *of;

	/*
	 * Both values are in range, and clang knows that. But the verifier requires the masks; the
	 * barriers keep clang from removing them.
	 */
	barrier_var(slot);
	barrier_var(kind);
	slot &= RETRANS_RESULT_SLOTS - 1;
	kind &= RETRANS_KIND_SLOTS - 1;
	of = &counts[slot][kind];
	count(&of->attempts, 1);
	count(&of->segs, a->segs);
}

static __always_inline void count_attempt(struct retrans_counters *c, const struct attempt *a)
{
	__u64 transmit = a->transmit;
	struct retrans_count *of;

	count_result(c->counts, a);
	/* As in count_result(). */
	barrier_var(transmit);
	of = &c->transmits[transmit & (RETRANS_TRANSMIT_SLOTS - 1)];
	count(&of->attempts, 1);
	count(&of->segs, a->segs);
}

static __always_inline void count_passed(const struct attempt *a)
{
	__u32 element = element_of_cpu();
	struct retrans_passed *passed = bpf_map_lookup_elem(&rt_passed, &element);

	/* Cannot fail; the verifier requires the check. */
	if (passed)
		count_result(passed->counts, a);
}

/*
 * The network namespace to reconcile, by inode number; 0 if there is no such namespace. Its
 * attempts are added up by the rules of the kernel's own counters.
 */
const volatile __u32 reconciled_netns = 0;

/* TCPRetransFail does not include -EBUSY. */
static __always_inline bool is_transmit_failure(const struct attempt *a)
{
	return a->has_err ? a->err && a->err != -EBUSY : a->result != TCP_RETRANS_SUCCESS;
}

/* Not in vmlinux.h, because only the function below reads it. */
struct tcp_sock___hint {
	struct sk_buff *retransmit_skb_hint;
} __attribute__((preserve_access_index));

/*
 * Returns true if tcp_xmit_retransmit_queue() made an attempt of Fast Open data in Loss. It stores
 * the segment in retransmit_skb_hint first. Before 5dfe9d273932 (v6.10, and some stable kernels)
 * tcp_rcv_fastopen_synack() calls __tcp_retransmit_skb() itself, which no counter of a kind counts.
 * The hint is then NULL, because the timeout of the SYN, by which Loss was entered, cleared it.
 */
static __always_inline bool is_of_queue(const struct attempt *a)
{
	const struct tcp_sock___hint *tp = (const void *)a->tp;

	return (__u64)KREAD(a, tp, retransmit_skb_hint) == (__u64)a->skb;
}

/*
 * Adds an attempt to the counters of its kind. By the kernel's definitions (net/ipv4, v5.10 to
 * v7.3):
 *
 * - tcp_xmit_retransmit_queue() adds the segments of each success to TCPFastRetrans, or in Loss to
 *   TCPSlowStartRetrans. No other function changes these two.
 * - tcp_send_loss_probe() adds 1 to TCPLossProbes for each success, and for a probe of new data.
 * - tcp_retransmit_timer() adds 1 to TCPTimeouts before the attempt, unless the attempt probes a
 *   closed window. The timeout may also end the connection. tcp_syn_ack_timeout() adds 1 as well.
 */
static __always_inline void count_kind(struct retrans_netns_stats *stats, const struct attempt *a)
{
	bool success = a->result == TCP_RETRANS_SUCCESS;

	switch (a->kind) {
	case RETRANS_KIND_RTO:
	case RETRANS_KIND_SYN:
		count(&stats->timeouts, 1);
		break;
	case RETRANS_KIND_TLP:
		if (success)
			count(&stats->loss_probes, 1);
		break;
	case RETRANS_KIND_FAST:
		if (success && a->ca_state != TCP_CA_Loss)
			count(&stats->fast_retrans, a->segs);
		break;
	case RETRANS_KIND_FASTOPEN:
		if (success && a->ca_state == TCP_CA_Loss && is_of_queue(a))
			count(&stats->slow_start_retrans, a->segs);
		break;
	case RETRANS_KIND_SLOW_START:
	case RETRANS_KIND_MTU:
	case RETRANS_KIND_RESUME:
		if (success && a->ca_state == TCP_CA_Loss)
			count(&stats->slow_start_retrans, a->segs);
		break;
	case RETRANS_KIND_UNKNOWN:
		if (success) {
			count(&stats->unknown_kind.attempts, 1);
			count(&stats->unknown_kind.segs, a->segs);
		}
	}
}

/* Counts an attempt before it can be filtered, limited or lost. */
static __always_inline void count_netns(struct retrans_counters *c, const struct attempt *a)
{
	struct retrans_netns_stats *stats = &c->netns;

	if (!reconciled_netns || netns_of(a) != reconciled_netns)
		return;
	count_kind(stats, a);
	switch (a->transmit) {
	case RETRANS_TRANSMIT_YES:
		count(&stats->retrans_segs, a->segs);
		if (is_transmit_failure(a))
			count(&stats->retrans_fail, a->segs);
		if (a->kind == RETRANS_KIND_SYNACK || a->tcp_flags & TCPHDR_SYN)
			count(&stats->syn_retrans, 1);
		break;
	case RETRANS_TRANSMIT_NO:
		if (a->result == TCP_RETRANS_IN_HOST_QUEUE)
			count(&stats->in_host_queue, 1);
		break;
	default:
		count(&stats->unknown.attempts, 1);
		count(&stats->unknown.segs, a->segs);
	}
}

#endif /* RETRANS_STATS_BPF_H */
