// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the values of a key=value line into a buffer. For a line it is four times as fast as
//! `fmt`, which matters at millions of lines a second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of bytes after the written ones that a write may overwrite, since wide writes are
/// faster than single bytes.
pub(crate) const WRITE_PADDING: usize = 8;

/// A writer into a buffer. Methods are inlined or pass the position by value, so that the position
/// stays in a register. If it were in memory, each write would wait for the previous one.
///
/// The buffer must have room for everything that is written and [`WRITE_PADDING`]; writing past its
/// end panics.
pub(crate) struct LineWriter<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> LineWriter<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// Returns the bytes that were written.
    pub(crate) fn written(&self) -> &[u8] {
        &self.buffer[..self.at]
    }

    /// Returns the number of bytes written.
    pub(crate) fn len(&self) -> usize {
        self.at
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.buffer[self.at] = byte;
        self.at += 1;
    }

    /// Writes bytes whose length is known at compile time.
    #[inline(always)]
    pub(crate) fn constant(&mut self, bytes: &[u8]) {
        self.buffer[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Writes a few bytes, by two overlapping writes instead of a call of memcpy.
    #[inline(always)]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        fn ends<const N: usize>(bytes: &[u8], to: &mut [u8]) -> Option<()> {
            *to.first_chunk_mut::<N>()? = *bytes.first_chunk::<N>()?;
            *to.last_chunk_mut::<N>()? = *bytes.last_chunk::<N>()?;
            Some(())
        }
        let to = &mut self.buffer[self.at..][..bytes.len()];
        let done = match bytes.len() {
            17..=32 => ends::<16>(bytes, to),
            8..=16 => ends::<8>(bytes, to),
            4..=7 => ends::<4>(bytes, to),
            _ => None,
        };
        if done.is_none() {
            to.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    /// Writes eight bytes, of which the first `len` count.
    #[inline(always)]
    fn eight(&mut self, bytes: [u8; 8], len: usize) {
        const { assert!(WRITE_PADDING >= 8) };
        self.buffer[self.at..][..8].copy_from_slice(&bytes);
        self.at += len;
    }

    #[inline(always)]
    pub(crate) fn unsigned(&mut self, value: u64) {
        if value < UNIT {
            self.small(value as u32);
        } else {
            self.out_of_line(|out| out.large(value));
        }
    }

    /// Writes a number below 10^8.
    #[inline(always)]
    fn small(&mut self, value: u32) {
        if value < 10 {
            return self.byte(b'0' + value as u8);
        }
        let digits = digits(value);
        // At least one digit is not zero.
        let zeros = digits.trailing_zeros() / 8;
        self.eight((ascii(digits) >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize);
    }

    #[inline(always)]
    fn large(&mut self, value: u64) {
        let (high, low) = (value / UNIT, (value % UNIT) as u32);
        if high < UNIT {
            self.small(high as u32);
        } else {
            self.small((high / UNIT) as u32);
            self.eight(ascii(digits((high % UNIT) as u32)).to_le_bytes(), 8);
        }
        self.eight(ascii(digits(low)).to_le_bytes(), 8);
    }

    /// Runs writes that are rare or long in a function that is not inlined.
    #[inline(always)]
    fn out_of_line(&mut self, what: impl FnOnce(&mut LineWriter<'_>)) {
        #[inline(never)]
        fn call(buffer: &mut [u8], at: usize, what: impl FnOnce(&mut LineWriter<'_>)) -> usize {
            let mut out = LineWriter { buffer, at };
            what(&mut out);
            out.at
        }
        self.at = call(self.buffer, self.at, what);
    }

    #[inline(always)]
    pub(crate) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.byte(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    /// Writes nine digits, with leading zeros.
    #[inline(always)]
    pub(crate) fn nine_digits(&mut self, value: u32) {
        self.byte(b'0' + (value / 100_000_000 % 10) as u8);
        self.eight(ascii(digits(value % 100_000_000)).to_le_bytes(), 8);
    }

    /// Writes a hexadecimal number with at least `least` digits.
    #[inline(always)]
    pub(crate) fn hex(&mut self, value: u16, least: u32) {
        let digits = (u16::BITS - value.leading_zeros()).div_ceil(4).max(least);
        for digit in (0..digits).rev() {
            self.byte(b"0123456789abcdef"[usize::from(value >> (4 * digit) & 0xf)]);
        }
    }

    #[inline(always)]
    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4(address),
            IpAddr::V6(address) => self.out_of_line(|out| out.v6(address)),
        }
    }

    #[inline(always)]
    fn v4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            let text = OCTETS[usize::from(octet)];
            let len = if octet < 10 { 1 } else { 3 - usize::from(octet < 100) };
            self.buffer[self.at..][..4].copy_from_slice(&text);
            self.at += len + 1;
        }
        // Removes the last point.
        self.at -= 1;
    }

    /// Writes an IPv6 address as RFC 5952 specifies: the first of the longest runs of zeros, if
    /// longer than one, is omitted.
    fn v6(&mut self, address: Ipv6Addr) {
        if let Some(address) = address.to_ipv4_mapped() {
            self.constant(b"::ffff:");
            return self.v4(address);
        }
        let segments = address.segments();
        let (mut longest, mut from, mut run) = (1, segments.len(), 0);
        for (i, segment) in segments.into_iter().enumerate() {
            run = if segment == 0 { run + 1 } else { 0 };
            if run > longest {
                (longest, from) = (run, i + 1 - run);
            }
        }
        let mut i = 0;
        while i < segments.len() {
            if i == from {
                self.constant(b"::");
                i += longest;
                continue;
            }
            if i > 0 && i != from + longest {
                self.byte(b':');
            }
            self.hex(segments[i], 1);
            i += 1;
        }
    }
}

/// Returns the eight decimal digits of a number below 10^8, one in each byte, the highest in the
/// lowest byte. It splits all lanes at once into four, two and one digits. The factors are the
/// inverses of 100 and 10, exact for the values in a lane.
#[inline(always)]
fn digits(value: u32) -> u64 {
    let fours = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

#[inline(always)]
fn ascii(digits: u64) -> u64 {
    digits | 0x3030_3030_3030_3030
}

/// 10^8. Numbers below it have at most eight digits.
const UNIT: u64 = 100_000_000;

/// The text of each number of eight bits, followed by a point.
static OCTETS: [[u8; 4]; 256] = {
    let mut all = [*b"...."; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut rest, mut at) = (octet, if octet < 10 { 0 } else { 2 - (octet < 100) as usize });
        loop {
            all[octet][at] = b'0' + (rest % 10) as u8;
            if at == 0 {
                break;
            }
            at -= 1;
            rest /= 10;
        }
        octet += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(what: impl FnOnce(&mut LineWriter<'_>)) -> String {
        let mut buffer = [0; 64];
        let mut out = LineWriter::new(&mut buffer);
        what(&mut out);
        String::from_utf8(out.written().to_vec()).expect("ASCII")
    }

    #[test]
    fn integers_near_powers_of_ten_print_correctly() {
        for exponent in 0..20 {
            let power = 10u64.pow(exponent);
            for value in [power - 1, power, power + 1, power.saturating_mul(9).saturating_add(9)] {
                assert_eq!(put(|out| out.unsigned(value)), value.to_string());
            }
        }
        for value in [0, -1, -9, -10, i64::MIN, i64::MAX] {
            assert_eq!(put(|out| out.signed(value)), value.to_string());
        }
        assert_eq!(put(|out| out.unsigned(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn every_octet_prints_correctly() {
        for octet in 0..=255 {
            let address = Ipv4Addr::new(octet, 0, 255 - octet, octet);
            assert_eq!(put(|out| out.address(address.into())), address.to_string());
        }
    }

    #[test]
    fn bytes_of_every_length_are_copied() {
        for len in 0..=40u8 {
            let bytes: Vec<u8> = (0..len).map(|i| b'0' + i).collect();
            assert_eq!(put(|out| out.bytes(&bytes)).as_bytes(), bytes);
        }
    }

    proptest! {
        #[test]
        fn integers_print_as_by_the_standard_library(value: u64, small in 0..100_000_000u64, nanos in 0..1_000_000_000u32) {
            prop_assert_eq!(put(|out| out.unsigned(value)), value.to_string());
            prop_assert_eq!(put(|out| out.unsigned(small)), small.to_string());
            prop_assert_eq!(put(|out| out.signed(value as i64)), (value as i64).to_string());
            prop_assert_eq!(put(|out| out.nine_digits(nanos)), format!("{nanos:09}"));
        }

        #[test]
        fn addresses_print_as_by_the_standard_library(
            segments in prop::array::uniform8(prop_oneof![Just(0u16), Just(0xffff), any::<u16>()]),
            bits in any::<u32>(),
        ) {
            for address in [IpAddr::from(segments), Ipv4Addr::from(bits).into(), Ipv4Addr::from(bits).to_ipv6_mapped().into()] {
                prop_assert_eq!(put(|out| out.address(address)), address.to_string());
            }
        }

        #[test]
        fn hexadecimal_numbers_print_as_by_the_standard_library(value: u16) {
            prop_assert_eq!(put(|out| out.hex(value, 3)), format!("{value:03x}"));
            prop_assert_eq!(put(|out| out.hex(value, 1)), format!("{value:x}"));
        }
    }
}
