// SPDX-License-Identifier: MIT OR Apache-2.0
//! A C enum, from BTF or a header.

use std::collections::BTreeMap;

use libbpf_rs::btf::types::Enum;
use libbpf_rs::btf::{Btf, TypeId};

use super::btf::{indent, members};
use super::libbpf_error::LibbpfError;
use super::libbpf_log::capture_log;
use crate::error::{Error, ErrorKind};

/// A C enum, from BTF or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CEnum {
    pub(crate) name: Option<String>,
    pub(crate) values: Vec<(String, i64)>,
    /// The first enumerator whose value cannot be evaluated. It and those after it are not in
    /// `values`.
    pub(crate) unread: Option<String>,
}

impl CEnum {
    /// Returns the enumerators that begin with a prefix, by name.
    pub(crate) fn with_prefix(&self, prefix: &str) -> BTreeMap<&str, i64> {
        self.values.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, n)| (name.as_str(), *n)).collect()
    }
}

/// Returns every enum of a BTF.
pub(crate) fn enums(btf: &Btf<'_>) -> Vec<CEnum> {
    // Type 0 is void.
    (1..btf.len() as u32)
        .filter_map(|id| btf.type_by_id::<Enum<'_>>(TypeId::from(id)))
        .map(|found| CEnum {
            name: found.name().map(|name| name.to_string_lossy().into_owned()),
            values: members(&found),
            unread: None,
        })
        .collect()
}

/// Returns every enum in the BTF of a built object.
pub(crate) fn enums_of_object(object: &[u8]) -> Result<Vec<CEnum>, Error> {
    let (btf, log) = capture_log(|| Btf::from_raw("retrans", object).map_err(LibbpfError::new));
    match btf {
        Ok(Some(btf)) => Ok(enums(&btf)),
        Ok(None) => Err(Error::new(ErrorKind::NoBtf, "the object has no BTF: compile it with clang -g")),
        Err(error) => {
            let message = format!("cannot read the BTF of the object{}", indent(&log));
            Err(error.cause(Error::new(ErrorKind::NoBtf, message)))
        }
    }
}
