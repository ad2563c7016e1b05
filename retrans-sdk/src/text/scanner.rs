// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scans a line in exactly the form in which this version writes it. Any other line is left to the
//! general parser in `format/kv.rs`, which reports what is wrong.

use std::net::Ipv4Addr;

/// Scans the values of a key=value line in their canonical form.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Scans these bytes, whose length is known at compile time.
    #[inline(always)]
    pub(crate) fn constant(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest().starts_with(bytes).then(|| self.at += bytes.len())
    }

    /// Scans up to a space or the end.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Scans a number of at most 19 digits, which cannot overflow, without leading zeros.
    #[inline(always)]
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let rest = self.rest();
        let mut value = 0u64;
        let mut len = 0;
        while let Some(digit) = rest.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            value = value.wrapping_mul(10).wrapping_add(digit.into());
            len += 1;
        }
        self.at += len;
        (len == 1 || (len > 1 && len <= 19 && rest[0] != b'0')).then_some(value)
    }

    /// Scans a number with an optional minus sign. It rejects `-0`.
    #[inline(always)]
    pub(crate) fn signed(&mut self) -> Option<i64> {
        if self.constant(b"-").is_none() {
            return self.unsigned()?.try_into().ok();
        }
        let value = i64::try_from(self.unsigned()?).ok()?;
        (value != 0).then_some(-value)
    }

    /// Scans exactly nine digits.
    #[inline(always)]
    pub(crate) fn nine_digits(&mut self) -> Option<u32> {
        let digits = self.rest().first_chunk::<9>()?;
        self.at += digits.len();
        digits.iter().try_fold(0u32, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
    }

    /// Scans three lower-case hexadecimal digits, or four if the first is not zero.
    #[inline(always)]
    pub(crate) fn flags(&mut self) -> Option<u16> {
        let digits = self.value();
        let value = digits.iter().try_fold(0u32, |value, byte| match byte {
            b'0'..=b'9' => Some(value << 4 | u32::from(byte - b'0')),
            b'a'..=b'f' => Some(value << 4 | u32::from(byte - b'a' + 10)),
            _ => None,
        })?;
        (digits.len() == 3 || (digits.len() == 4 && digits[0] != b'0')).then_some(value)?.try_into().ok()
    }

    #[inline(always)]
    pub(crate) fn v4(&mut self) -> Option<Ipv4Addr> {
        let mut octets = [0; 4];
        for (i, octet) in octets.iter_mut().enumerate() {
            if i > 0 {
                self.constant(b".")?;
            }
            *octet = self.unsigned()?.try_into().ok()?;
        }
        Some(octets.into())
    }
}
