// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions that return the keys of events, one [`Key`] each, to build a
//! [`Filter`](crate::Filter).
//!
//! # Examples
//!
//! ```
//! use retrans_sdk::filter::key;
//! use retrans_sdk::{Event, ResultClass, RetransResult};
//!
//! let filter = key::class().eq(ResultClass::Drop).and(key::dport().eq(1..=1023)).build()?;
//! assert_eq!(filter.to_string(), "class=drop dport=1..1023");
//! assert!(filter.matches(&Event::sample(RetransResult::Denied)));
//! # Ok::<(), retrans_sdk::filter::FilterError>(())
//! ```

use std::net::IpAddr;

use super::typed::{CgroupId, CookieId, Key};
use crate::event::drop_reason::DropReason;
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::kind::RetransKind;
use crate::event::owner::OwnerSource;
use crate::event::result::{ResultClass, RetransResult};
use crate::event::schema::all_fields;
use crate::event::tcp_enums::{CaState, Family, TcpState};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;

/// Selects the type of a key's values: the type of the field, except for `cgroup` and `cookie`.
macro_rules! key_type {
    (cgroup $type:ty) => {
        CgroupId
    };
    (cookie $type:ty) => {
        CookieId
    };
    ($name:ident $type:ty) => {
        $type
    };
}

macro_rules! keys {
    ($( $sort:ident $(($always:literal))? $name:ident: $type:ty, )*) => {
        $(
            #[doc = concat!("Returns the key `", stringify!($name), "`.")]
            #[must_use]
            pub const fn $name() -> Key<key_type!($name $type)> {
                Key::new(stringify!($name))
            }
        )*
    };
}
all_fields!(keys);
