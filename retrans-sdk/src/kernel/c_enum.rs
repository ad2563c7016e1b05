// SPDX-License-Identifier: MIT OR Apache-2.0
//! A C enum, from BTF or a header.

use std::collections::BTreeMap;

use libbpf_rs::btf::types::{Enum, Enum64};
use libbpf_rs::btf::{Btf, BtfType, TypeId};

use super::btf::{Names, members};
use super::libbpf_error::LibbpfError;
use super::libbpf_log::without_log;
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
    /// Returns the names of the enumerators, including the one whose value cannot be evaluated.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name).chain(&self.unread).map(String::as_str)
    }

    /// Returns the enumerators that begin with a prefix, by name.
    pub(crate) fn with_prefix(&self, prefix: &str) -> BTreeMap<&str, i64> {
        self.values.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, n)| (name.as_str(), *n)).collect()
    }
}

/// Returns every enum of a BTF, in bounded memory.
///
/// # Errors
///
/// [`ErrorKind::System`] if the names are longer than a compiler's.
pub(crate) fn enums(btf: &Btf<'_>) -> Result<Vec<CEnum>, Error> {
    let mut names = Names::default();
    let mut enums = Vec::new();
    // Type 0 is void.
    for found in (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<BtfType<'_>>(TypeId::from(id))) {
        // libbpf-rs measures the name of each type, so a long one must end the loop.
        Names::check(found.name())?;
        let (values, unread) = if let Ok(found) = Enum::try_from(found) {
            (members(&found, &mut names)?, None)
        } else if let Ok(found) = Enum64::try_from(found) {
            members_of_64_bits(&found, &mut names)?
        } else {
            continue;
        };
        let name = found.name().map(|name| names.read(name)).transpose()?;
        enums.push(CEnum { name, values, unread });
    }
    Ok(enums)
}

/// The enumerators of an enum, and the first one whose value cannot be read.
type Values = (Vec<(String, i64)>, Option<String>);

/// Returns the named enumerators up to the first one whose value an `i64` cannot contain, and that
/// one.
fn members_of_64_bits(of: &Enum64<'_>, names: &mut Names) -> Result<Values, Error> {
    let mut values = Vec::new();
    for (name, value) in of.iter().filter_map(|member| Some((member.name?, member.value))) {
        let name = names.read(name)?;
        match i64::try_from(value) {
            Ok(value) => values.push((name, value)),
            Err(_) => return Ok((values, Some(name))),
        }
    }
    Ok((values, None))
}

/// Returns every enum in the BTF of a built object.
pub(crate) fn enums_of_object(object: &[u8]) -> Result<Vec<CEnum>, Error> {
    match without_log(|| Btf::from_raw("retrans", object).map_err(LibbpfError::new)) {
        Ok(Some(btf)) => enums(&btf),
        Ok(None) => Err(Error::new(ErrorKind::NoBtf, "the object has no BTF: compile it with clang -g")),
        Err(error) => Err(error.cause(Error::new(ErrorKind::NoBtf, "cannot read the BTF of the object"))),
    }
}
