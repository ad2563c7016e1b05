/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter. It is read-only data, so the verifier knows its content and removes unused code. The
 * filter is a list of range tests, in the order of its text. The loop over the list does not branch
 * on the values that it compares, so the verifier checks the loop body once, whatever the length of
 * the list. With branches, 16 clauses would have more paths than the verifier accepts.
 *
 * The values are read from a `filter_input`. This is an attempt (filter_input.bpf.h). In the test
 * harness, which defines FILTER_INPUT_DEFINED and the same interface, it is a record.
 */
#ifndef RETRANS_FILTER_BPF_H
#define RETRANS_FILTER_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "retrans.h"
#include "address.bpf.h"
#ifndef FILTER_INPUT_DEFINED
#include "filter_input.bpf.h"
#endif

const volatile struct retrans_filter filter;

/* Values that need a search or a map lookup, computed once before the loop. */
struct lookups {
	__u64 has_cgroup;
	/* Bit k: the cgroup is in the subtree filter.subtrees[k]. */
	__u64 subtrees;
	__u64 has_cookie;
	__u64 own_socket;
};

struct operand {
	__u64 value;
	/* 1 if the operand has a value, else 0. */
	__u64 known;
};

static __always_inline void lookup_subtrees(filter_input a, struct lookups *found)
{
	for (__u32 level = 0; level < RETRANS_MAX_CGROUP_LEVELS; level++) {
		__u64 id = 0;

		if (!input_cgroup_at(a, level, &id))
			break;
		found->has_cgroup |= is_zero(id) ^ 1;
		for (__u32 k = 0; k < RETRANS_MAX_SUBTREES; k++) {
			if (k >= filter.subtrees_used)
				break;
			found->subtrees |= is_zero(id ^ filter.subtrees[k]) << k;
		}
	}
}

static __always_inline void lookup_own_socket(filter_input a, struct lookups *found)
{
	__u64 cookie = INPUT_VALUE(a, cookie, cookie_of(a));

	found->has_cookie = is_zero(cookie) ^ 1;
	found->own_socket = input_is_own_socket(a, cookie);
}

/* Maps signed numbers to unsigned numbers that have the same order. */
static __always_inline __u64 ordered(__u64 value, bool is_signed)
{
	return is_signed ? value ^ 1ull << 63 : value;
}

#define IS_SIGNED(member)                                                                          \
	__builtin_types_compatible_p(__typeof__(((struct retrans_record *)0)->member), __s32)

/* Returns one of the two words of a name of 16 bytes. */
#define NAME_WORD(a, read, index)                                                                  \
	({                                                                                         \
		union {                                                                            \
			__u8 bytes[16];                                                            \
			__u64 words[2];                                                            \
		} name_ = {};                                                                      \
                                                                                                   \
		read(a, name_.bytes);                                                              \
		name_.words[index];                                                                \
	})

/* The barrier keeps clang from merging the loads of several cases. */
#define OPERAND(name, expression)                                                                  \
	case RETRANS_FIELD_##name:                                                                 \
		operand.value = (expression);                                                      \
		barrier_var(operand.value);                                                        \
		break;

#define CONNECTION_OPERAND(name, member, number, offset, expression)                               \
	OPERAND(name, INPUT_VALUE(a, member, expression))

/* Fields that are absent if they are 0. */
#define ID_OPERAND(name, member, number, offset, expression)                                       \
	case RETRANS_FIELD_##name:                                                                 \
		operand.value = INPUT_VALUE(a, member, expression);                                \
		barrier_var(operand.value);                                                        \
		operand.known = is_zero(operand.value) ^ 1;                                        \
		break;

/* Fields of a full socket. */
#define TCP_OPERAND(name, member, number, offset, expression)                                      \
	case RETRANS_FIELD_##name:                                                                 \
		operand.value = ordered(INPUT_VALUE(a, member, expression), IS_SIGNED(member));    \
		barrier_var(operand.value);                                                        \
		operand.known = INPUT_HAS(a, name);                                                \
		break;

#define NAME_OPERAND(name, member, number, offset, read)                                           \
	case RETRANS_FIELD_##name:                                                                 \
		operand.value = NAME_WORD(a, read, 0);                                             \
		barrier_var(operand.value);                                                        \
		operand.known = INPUT_HAS(a, name);                                                \
		break;                                                                             \
	case RETRANS_FIELD_##name##_TAIL:                                                          \
		operand.value = NAME_WORD(a, read, 1);                                             \
		barrier_var(operand.value);                                                        \
		operand.known = INPUT_HAS(a, name);                                                \
		break;

static __always_inline bool needs_full_socket(__u8 field)
{
	return field == RETRANS_FIELD_CA_NAME_TAIL ||
	       (field < 64 && FULL_SOCKET_FIELDS & 1ull << field);
}

static __always_inline struct operand socket_operand_of(filter_input a, __u8 field)
{
	struct operand operand = {};

	if (!input_has_socket(a))
		return operand;
	switch (field) {
		TCP_FIELDS(TCP_OPERAND, a)
		NAME_FIELDS(NAME_OPERAND, a)
	}
	return operand;
}

static __always_inline struct operand operand_of(filter_input a, const struct lookups *found,
						 __u8 field)
{
	struct operand operand = {.known = 1};
	struct endpoints ends;
	INPUT_COPY_POINTERS(a);

	if (field >= RETRANS_FIELD_SUBTREE) {
		operand.value = found->subtrees >> (field - RETRANS_FIELD_SUBTREE) & 1;
		operand.known = found->has_cgroup;
		return operand;
	}
	if (needs_full_socket(field))
		return socket_operand_of(a, field);
	switch (field) {
		OPERAND(TS, input_ts(a))
		CONNECTION_FIELDS(CONNECTION_OPERAND, a)
		SOCKET_FIELDS(CONNECTION_OPERAND, a)
		ID_FIELDS(ID_OPERAND, a)
	case RETRANS_FIELD_ERR:
		operand.value = ordered(INPUT_VALUE(a, err, a->err), true);
		operand.known = input_has_err(a);
		break;
	case RETRANS_FIELD_OWN_SOCKET:
		operand.value = found->own_socket;
		operand.known = found->has_cookie;
		break;
	case RETRANS_FIELD_INET:
		ends = input_endpoints(a);
		operand.value = is_inet(&ends);
		break;
	case RETRANS_FIELD_MAPPED:
		ends = input_endpoints(a);
		operand.known = is_mapped(&ends);
		operand.value = operand.known;
		break;
	case RETRANS_FIELD_SADDR_HIGH:
		ends = input_endpoints(a);
		operand.value = address_of(&ends, &ends.saddr).high;
		break;
	case RETRANS_FIELD_SADDR_LOW:
		ends = input_endpoints(a);
		operand.value = address_of(&ends, &ends.saddr).low;
		break;
	case RETRANS_FIELD_DADDR_HIGH:
		ends = input_endpoints(a);
		operand.value = address_of(&ends, &ends.daddr).high;
		break;
	case RETRANS_FIELD_DADDR_LOW:
		ends = input_endpoints(a);
		operand.value = address_of(&ends, &ends.daddr).low;
		break;
	}
	return operand;
}

static __always_inline __u64 is_within(__u64 low, __u64 value, __u64 high)
{
	return (is_less(value, low) | is_less(high, value)) ^ 1;
}

/*
 * Returns true if any clause is true. A clause is true if all of its terms are true. A term is true
 * if any of its operands is true. An operand is true if all of its tests are true.
 */
static __always_inline bool filter_passes(filter_input a)
{
	__u64 all_tests = 1, term = 0, clause = 1, pass = 0;
	struct lookups lookups = {};
	struct operand operand = {};

	if (!filter.used)
		return true;
	if (filter.subtrees_used)
		lookup_subtrees(a, &lookups);
	if (filter.own_socket_used)
		lookup_own_socket(a, &lookups);

	for (__u32 i = 0; i < RETRANS_MAX_TESTS; i++) {
		const volatile struct retrans_test *test = &filter.tests[i];
		__u8 flags;

		if (i >= filter.used)
			break;
		flags = test->flags;
		/* Without FETCH, the test uses the operand of the previous test. */
		if (flags & RETRANS_TEST_FETCH)
			operand = operand_of(a, &lookups, test->field);
		all_tests &= is_within(test->low, operand.value, test->high);
		if (!(flags & RETRANS_TEST_ENDS_OPERAND))
			continue;
		term |= all_tests;
		all_tests = 1;
		if (!(flags & RETRANS_TEST_ENDS_TERM))
			continue;
		/* A term on an absent value is false, unless OR_ABSENT is set. */
		if (flags & RETRANS_TEST_NEGATED)
			term = (term ^ 1) & operand.known;
		else if (flags & RETRANS_TEST_OR_ABSENT)
			term = (term & operand.known) | (operand.known ^ 1);
		else
			term &= operand.known;
		clause &= term;
		term = 0;
		if (!(flags & RETRANS_TEST_ENDS_CLAUSE))
			continue;
		pass |= clause;
		clause = 1;
	}
	return pass;
}

#endif /* RETRANS_FILTER_BPF_H */
