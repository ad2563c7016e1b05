/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter: read-only data, which the verifier knows and by which it removes what is not used.
 * It is a list of tests of one kind, whether a number is in a range, in the order of the text. The
 * loop over it has no branch on what is compared, so the verifier walks it once, however long.
 *
 * What is compared is asked of a `subject`: an attempt (facts.bpf.h), or a record in the tests.
 */
#ifndef RETRANS_FILTER_BPF_H
#define RETRANS_FILTER_BPF_H

const volatile struct retrans_filter filter;

/* What takes more than a load, found once and before the list. */
struct found {
	__u64 has_cgroup;
	/* Bit k: the cgroup is filter.trees[k] or below it. */
	__u64 trees;
	__u64 has_cookie;
	__u64 mine;
};

struct fact {
	__u64 value;
	/* 0 if there is no value. */
	__u64 known;
};

static __always_inline void find_trees(subject a, struct found *found)
{
	for (__u32 level = 0; level < RETRANS_MAX_CGROUP_LEVELS; level++) {
		__u64 id = 0;

		if (!next_cgroup(a, level, &id))
			break;
		found->has_cgroup |= is_zero(id) ^ 1;
		for (__u32 k = 0; k < RETRANS_MAX_TREES; k++) {
			if (k >= filter.trees_used)
				break;
			found->trees |= is_zero(id ^ filter.trees[k]) << k;
		}
	}
}

static __always_inline void find_mine(subject a, struct found *found)
{
	__u64 cookie = SUBJECT_VALUE(cookie, cookie_of(a));

	found->has_cookie = is_zero(cookie) ^ 1;
	found->mine = is_mine(a, cookie);
}

/* So that numbers with a sign are in order. */
static __always_inline __u64 ordered(__s32 number)
{
	return (__u64)(__s64)number ^ 1ull << 63;
}

static __always_inline __u64 ca_name_word(subject a, __u32 index)
{
	union {
		__u8 bytes[16];
		__u64 words[2];
	} name = {};

	read_ca_name(a, name.bytes);
	return name.words[index];
}

/* Behind the barrier clang does not make one load of those of several cases. */
#define FACT(name, expression)                                                                     \
	case RETRANS_FACT_##name:                                                                  \
		fact.value = (expression);                                                         \
		barrier_var(fact.value);                                                           \
		break;

#define FACT_OF(name, field, expression) FACT(name, SUBJECT_VALUE(field, expression))

/* These are never 0. */
#define FACT_OF_ID(name, field, expression)                                                        \
	case RETRANS_FACT_##name:                                                                  \
		fact.value = SUBJECT_VALUE(field, expression);                                     \
		barrier_var(fact.value);                                                           \
		fact.known = is_zero(fact.value) ^ 1;                                              \
		break;

/* Of what is there of a full socket. */
#define FACT_OF_SOCKET(name, field, expression)                                                    \
	case RETRANS_FACT_##name:                                                                  \
		fact.value = SUBJECT_VALUE(field, expression);                                     \
		barrier_var(fact.value);                                                           \
		fact.known = SUBJECT_HAS(name);                                                    \
		break;

static __always_inline struct fact socket_fact(subject a, __u8 which)
{
	struct fact fact = {};

	if (!has_socket(a))
		return fact;
	switch (which) {
		SEGMENT_FIELDS(FACT_OF_SOCKET)
		TCP_FIELDS(FACT_OF_SOCKET)
	case RETRANS_FACT_SK_ERR_SOFT:
		fact.value = ordered(SUBJECT_VALUE(sk_err_soft, LOAD(a->sk, sk_err_soft)));
		barrier_var(fact.value);
		fact.known = SUBJECT_HAS(SK_ERR_SOFT);
		break;
	case RETRANS_FACT_CA_NAME_HEAD:
		fact.value = ca_name_word(a, 0);
		barrier_var(fact.value);
		fact.known = SUBJECT_HAS(CA_NAME);
		break;
	case RETRANS_FACT_CA_NAME_TAIL:
		fact.value = ca_name_word(a, 1);
		barrier_var(fact.value);
		fact.known = SUBJECT_HAS(CA_NAME);
		break;
	}
	return fact;
}

static __always_inline struct fact fact_of(subject a, const struct found *found, __u8 which)
{
	struct fact fact = {.known = 1};
	struct ends ends;
	SUBJECT_AFRESH(a);

	if (which >= RETRANS_FACT_TREE) {
		fact.value = found->trees >> (which - RETRANS_FACT_TREE) & 1;
		fact.known = found->has_cgroup;
		return fact;
	}
	if (which >= RETRANS_FACT_SEQ)
		return socket_fact(a, which);
	switch (which) {
		FACT(TS, subject_ts(a))
		CONNECTION_FIELDS(FACT_OF)
		OWNER_FIELDS(FACT_OF)
		ID_FIELDS(FACT_OF_ID)
	case RETRANS_FACT_ERR:
		fact.value = ordered(SUBJECT_VALUE(err, a->err));
		fact.known = has_err(a);
		break;
	case RETRANS_FACT_MINE:
		fact.value = found->mine;
		fact.known = found->has_cookie;
		break;
	case RETRANS_FACT_INET:
		ends = subject_ends(a);
		fact.value = is_inet(&ends);
		break;
	case RETRANS_FACT_MAPPED:
		ends = subject_ends(a);
		fact.known = is_mapped(&ends);
		fact.value = fact.known;
		break;
	case RETRANS_FACT_SADDR_HIGH:
		ends = subject_ends(a);
		fact.value = address_of(&ends, &ends.saddr).high;
		break;
	case RETRANS_FACT_SADDR_LOW:
		ends = subject_ends(a);
		fact.value = address_of(&ends, &ends.saddr).low;
		break;
	case RETRANS_FACT_DADDR_HIGH:
		ends = subject_ends(a);
		fact.value = address_of(&ends, &ends.daddr).high;
		break;
	case RETRANS_FACT_DADDR_LOW:
		ends = subject_ends(a);
		fact.value = address_of(&ends, &ends.daddr).low;
		break;
	}
	return fact;
}

static __always_inline __u64 is_within(__u64 low, __u64 value, __u64 high)
{
	return (is_less(value, low) | is_less(high, value)) ^ 1;
}

/* Clauses of terms of operands of tests: any, all, any, all. */
static __always_inline bool filter_passes(subject a)
{
	__u64 operand = 1, term = 0, clause = 1, pass = 0;
	struct found found = {};
	struct fact fact = {};

	if (!filter.used)
		return true;
	if (filter.trees_used)
		find_trees(a, &found);
	if (filter.mine_used)
		find_mine(a, &found);

	for (__u32 i = 0; i < RETRANS_MAX_TESTS; i++) {
		const volatile struct retrans_test *test = &filter.tests[i];
		__u8 flags;

		if (i >= filter.used)
			break;
		flags = test->flags;
		/* That of the test before it, unless it says so. */
		if (flags & RETRANS_TEST_FETCH)
			fact = fact_of(a, &found, test->fact);
		operand &= is_within(test->low, fact.value, test->high);
		if (!(flags & RETRANS_TEST_ENDS_OPERAND))
			continue;
		term |= operand;
		operand = 1;
		if (!(flags & RETRANS_TEST_ENDS_TERM))
			continue;
		/* Of an absent value nothing holds but that it is absent. */
		if (flags & RETRANS_TEST_NEGATED)
			term = (term ^ 1) & fact.known;
		else if (flags & RETRANS_TEST_OR_ABSENT)
			term = (term & fact.known) | (fact.known ^ 1);
		else
			term &= fact.known;
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
