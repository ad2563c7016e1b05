// SPDX-License-Identifier: MIT OR Apache-2.0
//! Escapes text from outside the program, for messages and tables.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Text from outside the program, such as a file name, a value in a recording or a name in BTF. It
/// prints with everything escaped that could control a terminal, or forge or hide text.
///
/// Escaped are control characters (C0, DEL, C1), format characters such as those that change the
/// direction of text, combining marks, separators other than the space, and unassigned characters.
/// They print as in a Rust string: `\u{1b}`, `\n`. Letters of scripts that are written from right
/// to left are not escaped. A byte that is not UTF-8 prints as `\xff`.
///
/// Key=value lines percent-encode instead: see [`PercentEncoded`](crate::event::PercentEncoded).
///
/// # Examples
///
/// ```
/// use retrans_sdk::format::Escaped;
///
/// assert_eq!(Escaped::value("a\x1b[31m\nb").to_string(), r"a\u{1b}[31m\nb");
/// assert_eq!(Escaped::value(b"caf\xe9").to_string(), r"caf\xe9");
/// assert_eq!(Escaped::text("two\nlines\x07").to_string(), "two\nlines\\u{7}");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    is_text: bool,
}

impl<'a> Escaped<'a> {
    /// Escapes a value, which is a part of a line. Escapes the newline, the tab and the backslash,
    /// too, so that different values print differently.
    #[must_use]
    pub fn value<T: AsRef<[u8]> + ?Sized>(value: &'a T) -> Self {
        Self { bytes: value.as_ref(), is_text: false }
    }

    /// Escapes a path, as [`value`](Self::value) does.
    #[must_use]
    pub fn path<T: AsRef<Path> + ?Sized>(path: &'a T) -> Self {
        Self { bytes: path.as_ref().as_os_str().as_bytes(), is_text: false }
    }

    /// Escapes a text of several lines. Keeps newlines, tabs and backslashes, so that a text that
    /// contains escaped values prints unchanged.
    #[must_use]
    pub fn text<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Self { bytes: text.as_ref(), is_text: true }
    }

    /// Returns whether a character prints as it is.
    fn keeps(self, c: char) -> bool {
        match c {
            '\\' | '\n' | '\t' => self.is_text,
            ' '..='~' => true,
            // Hangul fillers and the blank Braille pattern, which print as nothing.
            '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' => false,
            // The character itself, if the standard library does not escape it.
            c => c.escape_debug().len() == 1,
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            let text = chunk.valid();
            let mut written = 0;
            for (at, c) in text.char_indices().filter(|(_, c)| !self.keeps(*c)) {
                f.write_str(&text[written..at])?;
                match c.escape_debug() {
                    escaped if escaped.len() > 1 => write!(f, "{escaped}")?,
                    _ => write!(f, "{}", c.escape_unicode())?,
                }
                written = at + c.len_utf8();
            }
            f.write_str(&text[written..])?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters that control a terminal, change the order of text, or are invisible.
    const HARMFUL: &str = "\0\x07\x08\r\x0b\x0c\x1b\x7f\u{85}\u{9b}\u{9d}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\
        \u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{fff9}\u{e0001}\u{e007f}";

    #[test]
    fn every_harmful_character_is_escaped() {
        for c in HARMFUL.chars() {
            let text = c.to_string();
            let escaped = c.escape_debug().to_string();
            assert!(escaped.is_ascii() && escaped.starts_with('\\'), "{escaped}");
            assert_eq!(Escaped::value(&text).to_string(), escaped);
            assert_eq!(Escaped::text(&text).to_string(), escaped);
            assert_eq!(Escaped::path(&text).to_string(), escaped);
        }
    }

    #[test]
    fn ordinary_text_prints_unchanged() {
        for text in ["", "a 'quoted' \"word\" ~", "größer → 東京 ελ", "/usr/include/linux/tcp.h", "…"] {
            assert_eq!(Escaped::value(text).to_string(), text);
            assert_eq!(Escaped::text(text).to_string(), text);
        }
        assert_eq!(Escaped::text("a\\b\n\tc").to_string(), "a\\b\n\tc");
        assert_eq!(Escaped::value("a\\b\n\tc").to_string(), r"a\\b\n\tc");
    }

    proptest! {
        #[test]
        fn nothing_harmful_remains(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let is_harmful = |c: char| c.is_control() || HARMFUL.contains(c);
            let value = Escaped::value(&bytes).to_string();
            prop_assert!(!value.contains(is_harmful), "{value:?}");
            let text = Escaped::text(&bytes).to_string();
            prop_assert!(!text.replace(['\n', '\t'], "").contains(is_harmful), "{text:?}");
            // Escaping once is enough.
            prop_assert_eq!(Escaped::text(&text).to_string(), text.clone());
        }
    }
}
