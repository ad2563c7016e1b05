// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, values and C names that derive from names, and explicit ones.
#![deny(warnings)]

use retrans_sdk::reason_table;

/// A table of which everything is derived.
#[reason_table]
pub enum Whole {
    /// `Unknown` is an allowed name.
    Unknown = 0,
    /// Two words.
    TwoWords = 1,
}

/// A table with derived and explicit C names.
#[reason_table(key = "drop", c_prefix = "X_")]
#[allow(clippy::upper_case_acronyms)]
pub enum Dropped {
    /// The plain case.
    NotSpecified = 0,
    /// A digit at the end.
    FinWait1 = 1,
    /// A digit belongs to the word before it.
    Tcp3Way = 2,
    /// Two words, each with a digit.
    Ipv6In4 = 3,
    /// An acronym.
    TCPFlags = 4,
    /// An acronym alone.
    PAWS = 5,
    /// The value alone.
    #[reason(value = "rcvbuf")]
    ReceiveBuffer = 6,
    /// The C name alone.
    #[reason(c_name = "Y_OTHER")]
    Other = 7,
    /// A raw name.
    r#Type = 8,
}

/// No prefix in C.
#[reason_table(c_prefix = "")]
pub enum Bare {
    /// Consumed.
    SkbConsumed = 1,
}

fn main() {
    assert_eq!((Whole::KEY, Bare::KEY), ("whole", "bare"));
    assert_eq!(Whole::Unknown.key_val().to_string(), "whole=unknown");
    assert_eq!("unknown".parse(), Ok(Whole::Unknown));
    assert_eq!((Whole::TwoWords.as_str(), Whole::TwoWords.c_name()), (Some("two_words"), None));
    let rows: Vec<_> = Dropped::ALL.iter().map(|row| (row.value, row.c_name.unwrap_or_default())).collect();
    assert_eq!(
        rows,
        [
            ("not_specified", "X_NOT_SPECIFIED"),
            ("fin_wait1", "X_FIN_WAIT1"),
            ("tcp3_way", "X_TCP3_WAY"),
            ("ipv6_in4", "X_IPV6_IN4"),
            ("tcp_flags", "X_TCP_FLAGS"),
            ("paws", "X_PAWS"),
            ("rcvbuf", "X_RECEIVE_BUFFER"),
            ("other", "Y_OTHER"),
            ("type", "X_TYPE"),
        ]
    );
    assert_eq!(Bare::SkbConsumed.c_name(), Some("SKB_CONSUMED"));
}
