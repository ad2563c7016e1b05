// SPDX-License-Identifier: MIT OR Apache-2.0
//! An enum of C, as BTF or a header declares it.

use std::collections::BTreeMap;

/// An enum, from a header or from BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CEnum {
    pub(crate) name: Option<String>,
    pub(crate) values: Vec<(String, i64)>,
    /// The first enumerator whose value could not be read. It and those behind it are not among the values.
    pub(crate) unread: Option<String>,
}

impl CEnum {
    /// The enumerators that begin with a prefix, by name.
    pub(crate) fn with_prefix(&self, prefix: &str) -> BTreeMap<&str, i64> {
        self.values.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, n)| (name.as_str(), *n)).collect()
    }
}
