// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of events, each a function that returns the [`Key`] to build a
//! [`Filter`](crate::Filter) with.

use std::net::IpAddr;

use super::typed::{CgroupId, CookieId, Key};
use crate::event::kernel_str::KernelStr;
use crate::event::kind::RetransKind;
use crate::event::owner::OwnerSource;
use crate::event::result::{ResultClass, RetransResult};
use crate::event::schema::all_fields;
use crate::event::tcp_enums::{CaState, Family, TcpState};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;

/// The type of a key's values: the field's, except for two whose values are more than a number.
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
