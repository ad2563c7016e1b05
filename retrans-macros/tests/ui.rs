// SPDX-License-Identifier: MIT OR Apache-2.0
//! What compiles, and what does not: where the error points and what it says.
//!
//! `TRYBUILD=overwrite` writes the `.stderr` files anew; read what it wrote.

/// Apart from the failing ones, which are then checked in one run of cargo.
#[test]
fn pass() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn fail() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
