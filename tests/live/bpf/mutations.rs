// SPDX-License-Identifier: MIT OR Apache-2.0
// Mutations of the filter, each of which the test must detect: name, header, text, replacement.

const MUTATIONS: &[(&str, &str, &str, &str)] = &[
    ("low_end_excluded", "filter.bpf.h", "is_less(value, low) |", "(is_less(low, value) ^ 1) |"),
    ("high_end_excluded", "filter.bpf.h", "| is_less(high, value))", "| (is_less(value, high) ^ 1))"),
    ("signed_comparison", "address.bpf.h", "sign_of((~a & b) | ((~a | b) & difference))", "sign_of(difference)"),
    ("sign_bit_not_flipped", "filter.bpf.h", "is_signed ? value ^ 1ull << 63 : value", "value"),
    ("only_the_last_test_counts", "filter.bpf.h", "all_tests &= is_within", "all_tests = is_within"),
    ("only_the_last_operand_counts", "filter.bpf.h", "term |= all_tests", "term = all_tests"),
    ("only_the_last_term_counts", "filter.bpf.h", "clause &= term", "clause = term"),
    ("only_the_last_clause_counts", "filter.bpf.h", "pass |= clause", "pass = clause"),
    ("term_is_not_reset", "filter.bpf.h", "clause &= term;\n\t\tterm = 0;", "clause &= term;"),
    ("negation_matches_an_absent_value", "filter.bpf.h", "(term ^ 1) & operand.known", "term ^ 1"),
    ("negation_is_ignored", "filter.bpf.h", "(term ^ 1) & operand.known", "term & operand.known"),
    ("absence_is_ignored", "filter.bpf.h", "| (operand.known ^ 1)", "| 0"),
    ("half_of_the_mapped_prefix_is_compared", "address.bpf.h", "raw->words[0] | raw->words[1] |", "raw->words[1] |"),
    ("mapped_is_not_inet", "address.bpf.h", "AF_INET) | is_mapped(ends)", "AF_INET)"),
    ("wrong_half_of_an_ipv4_address", "address.bpf.h", "(v4 & bpf_ntohl(raw->words[0]))", "(v4 & last)"),
    ("only_the_topmost_cgroup_counts", "filter.bpf.h", "level < RETRANS_MAX_CGROUP_LEVELS", "level < 1"),
    ("all_subtrees_share_a_bit", "filter.bpf.h", "filter.subtrees[k]) << k", "filter.subtrees[k])"),
];
