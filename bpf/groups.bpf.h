/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts the attempts that pass the filter by a key, such as the cgroup (StreamBuilder::count_by).
 * Attempts with the same key are a group.
 *
 * The number of groups is limited. An attempt for which no group is available, because all are in
 * use or another CPU adds one, is counted in the first element, so the groups always add up to the
 * attempts that passed the filter. A key is never removed.
 *
 * The counts are in an array that is mapped into user space, so that reading them requires no
 * capability. A hash map stores the element of each key. Before v5.12 BPF programs have no atomic
 * operation that returns a value, so a queue hands out the unused elements. User space fills it.
 */
#ifndef RETRANS_GROUPS_BPF_H
#define RETRANS_GROUPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "address.bpf.h"
#include "attempt.bpf.h"
#include "kread.bpf.h"
#include "stats.bpf.h"

/* The key; RETRANS_GROUP_BY_NOTHING if attempts are not counted by a key. */
const volatile enum retrans_group_by group_by = RETRANS_GROUP_BY_NOTHING;
/* The masks of the prefixes for RETRANS_GROUP_BY_REMOTE_PREFIX. */
const volatile struct retrans_prefix_masks group_masks = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, struct retrans_group_key);
	__type(value, __u32); /* the element of rt_groups */
} rt_group_elements SEC(".maps");

/* The unused elements of rt_groups. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(value, __u32);
} rt_free_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at open if it is used */
	__type(key, __u32);
	__type(value, struct retrans_group);
} rt_groups SEC(".maps");

static __always_inline struct retrans_group_key group_key_of(const struct attempt *a)
{
	struct retrans_group_key key = {.tag = RETRANS_GROUP_NUMBER};
	struct endpoints ends;
	struct address daddr;
	__u64 inet;

	switch (group_by) {
	case RETRANS_GROUP_BY_CGROUP:
		key.low = cgroup_of(a);
		if (!key.low)
			key.tag = RETRANS_GROUP_ABSENT;
		break;
	case RETRANS_GROUP_BY_NETNS:
		key.low = netns_of(a);
		break;
	case RETRANS_GROUP_BY_LOCAL_PORT:
		key.low = KREAD(a, a->skc, skc_num);
		break;
	case RETRANS_GROUP_BY_REMOTE_PORT:
		key.low = bpf_ntohs(KREAD(a, a->skc, skc_dport));
		break;
	default:
		ends = endpoints_of(a);
		daddr = address_of(&ends, &ends.daddr);
		inet = is_inet(&ends);
		key.high = daddr.high & group_masks.inet6_high;
		key.low = daddr.low & (inet ? group_masks.inet : group_masks.inet6_low);
		key.tag = inet ? RETRANS_GROUP_INET : RETRANS_GROUP_INET6;
	}
	return key;
}

/* Returns the element of a key, which may be new, or 0 if there is no unused element. */
static __always_inline __u32 group_element(const struct retrans_group_key *key)
{
	__u32 *found = bpf_map_lookup_elem(&rt_group_elements, key);
	struct retrans_group *group;
	__u32 element = 0;

	if (found)
		return *found;
	if (bpf_map_pop_elem(&rt_free_groups, &element))
		return 0;
	group = bpf_map_lookup_elem(&rt_groups, &element);
	/* Cannot fail; the verifier requires the check. */
	if (!group)
		return 0;
	/* Before another CPU can find the element, and count in it. */
	group->key = *key;
	if (!bpf_map_update_elem(&rt_group_elements, key, &element, BPF_NOEXIST))
		return element;
	/* Another CPU has added the same key meanwhile, or the map is locked by this CPU. */
	bpf_map_push_elem(&rt_free_groups, &element, 0);
	found = bpf_map_lookup_elem(&rt_group_elements, key);
	return found ? *found : 0;
}

/*
 * Adds one attempt to the group of a key. Not inlined, because the key occupies the stack. The
 * arguments are numbers: if clang passed the attempt itself, it would lose the constants in it.
 */
static __noinline int add_to_group(__u64 high, __u64 low, enum retrans_group_tag tag, __u64 slot,
				   __u64 segs)
{
	struct retrans_group_key key = {.high = high, .low = low, .tag = tag};
	__u32 element = group_element(&key);
	struct retrans_group *group = bpf_map_lookup_elem(&rt_groups, &element);

	/* Cannot fail; the verifier requires the check. */
	if (!group)
		return 0;
	/* As in count_result(). */
	barrier_var(slot);
	slot &= RETRANS_RESULT_SLOTS - 1;
	count(&group->counts[slot].attempts, 1);
	count(&group->counts[slot].segs, segs);
	return 0;
}

/* Counts an attempt that passed the filter. */
static __always_inline void count_group(const struct attempt *a)
{
	struct retrans_group_key key = group_key_of(a);

	add_to_group(key.high, key.low, key.tag, result_slot(a->result), a->segs);
}

#endif /* RETRANS_GROUPS_BPF_H */
