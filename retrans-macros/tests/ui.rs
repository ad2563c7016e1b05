// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables that compile, and tables that do not, with the position and the message of each error.
//!
//! `TRYBUILD=overwrite` regenerates the `.stderr` files. Review them afterwards.

/// Separate from the failing tables, so that those are checked in one run of cargo.
#[test]
fn valid_tables_compile() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn invalid_tables_report_their_mistakes() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
