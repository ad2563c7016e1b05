// SPDX-License-Identifier: MIT OR Apache-2.0
// Mutations of the filter, each of which the test must detect: name, header, text, replacement.

const MUTATIONS: &[(&str, &str, &str, &str)] = &[
    ("low_end_excluded", "filter.bpf.h", "is_less(value, low) |", "(is_less(low, value) ^ 1) |"),
    ("high_end_excluded", "filter.bpf.h", "| is_less(high, value))", "| (is_less(value, high) ^ 1))"),
    ("compared_with_a_sign", "address.bpf.h", "sign_of((~a & b) | ((~a | b) & difference))", "sign_of(difference)"),
    ("a_sign_taken_for_a_bit", "filter.bpf.h", "is_signed ? value ^ 1ull << 63 : value", "value"),
    ("the_last_test_alone", "filter.bpf.h", "all_tests &= is_within", "all_tests = is_within"),
    ("the_last_operand_alone", "filter.bpf.h", "term |= all_tests", "term = all_tests"),
    ("the_last_term_alone", "filter.bpf.h", "clause &= term", "clause = term"),
    ("the_last_clause_alone", "filter.bpf.h", "pass |= clause", "pass = clause"),
    ("a_term_that_stays", "filter.bpf.h", "clause &= term;\n\t\tterm = 0;", "clause &= term;"),
    ("not_of_what_is_absent", "filter.bpf.h", "(term ^ 1) & operand.known", "term ^ 1"),
    ("not_forgotten", "filter.bpf.h", "(term ^ 1) & operand.known", "term & operand.known"),
    ("absent_forgotten", "filter.bpf.h", "| (operand.known ^ 1)", "| 0"),
    ("half_a_mapped_prefix", "address.bpf.h", "raw->words[0] | raw->words[1] |", "raw->words[1] |"),
    ("mapped_is_no_inet", "address.bpf.h", "AF_INET) | is_mapped(ends)", "AF_INET)"),
    ("the_other_half_of_an_address", "address.bpf.h", "(v4 & bpf_ntohl(raw->words[0]))", "(v4 & last)"),
    ("the_topmost_cgroup_alone", "filter.bpf.h", "level < RETRANS_MAX_CGROUP_LEVELS", "level < 1"),
    ("one_tree_for_all", "filter.bpf.h", "filter.subtrees[k]) << k", "filter.subtrees[k])"),
];
