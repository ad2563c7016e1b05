/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adds up the attempts of one network namespace in the way in which the kernel does, before any of
 * them is filtered, limited or lost: so that both sums can be held against each other.
 */
#ifndef RETRANS_SUMS_BPF_H
#define RETRANS_SUMS_BPF_H

/* The namespace, by its inode number; 0: none. */
const volatile __u32 summed_netns = 0;

/* TCPRetransFail leaves out -EBUSY. */
static __always_inline bool is_transmit_failure(const struct attempt *a)
{
	return a->has_err ? a->err && a->err != -EBUSY : a->result != TCP_RETRANS_SUCCESS;
}

static __always_inline void sum_attempt(struct retrans_counters *c, const struct attempt *a)
{
	struct retrans_sums *sums = &c->sums;

	if (!summed_netns || netns_of(a) != summed_netns)
		return;
	switch (a->transmit) {
	case RETRANS_TRANSMIT_YES:
		count(&sums->retrans_segs, a->segs);
		if (is_transmit_failure(a))
			count(&sums->retrans_fail, a->segs);
		if (a->kind == RETRANS_KIND_SYNACK || a->tcp_flags & TCPHDR_SYN)
			count(&sums->syn_retrans, 1);
		break;
	case RETRANS_TRANSMIT_NO:
		if (a->result == TCP_RETRANS_IN_HOST_QUEUE)
			count(&sums->in_host_queue, 1);
		break;
	default:
		count(&sums->unknown.attempts, 1);
		count(&sums->unknown.segs, a->segs);
	}
}

#endif /* RETRANS_SUMS_BPF_H */
