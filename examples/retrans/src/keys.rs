// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decodes the bytes that a terminal sends into keys.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use vte::{Params, Parser, Perform};

const ESCAPE: u8 = 0x1b;

/// Decodes what a terminal sends, in pieces of any size. Leaves out unknown sequences.
#[derive(Default)]
pub(crate) struct Decoder {
    parser: Parser,
    decoded: Decoded,
    /// The beginning of a character at the end of the last read.
    incomplete: Vec<u8>,
}

impl Decoder {
    /// Returns the keys in one read. An escape at its end is the Esc key, not the start of a
    /// sequence.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Vec<KeyEvent> {
        // If a read ends inside a character, vte 0.15.0 may lose the character after it.
        let mut bytes = [self.incomplete.as_slice(), bytes].concat();
        self.incomplete = split_incomplete(&mut bytes);
        if !split_incomplete(&mut bytes).is_empty() {
            // Another character follows, so this one stays incomplete.
            bytes.extend("\u{fffd}".bytes());
        }
        let (sequences, escape) = match &*bytes {
            [before @ .., ESCAPE] => (before, true),
            all => (all, false),
        };
        self.parser.advance(&mut self.decoded, sequences);
        if escape {
            // The escape ends an incomplete sequence before it.
            self.parser = Parser::default();
            self.decoded.keys.push(KeyCode::Esc.into());
        }
        std::mem::take(&mut self.decoded.keys)
    }
}

/// Removes an incomplete character from the end of a text, and returns it.
fn split_incomplete(bytes: &mut Vec<u8>) -> Vec<u8> {
    let is_incomplete = |start: &usize| {
        let error = bytes.get(*start..).and_then(|end| str::from_utf8(end).err());
        error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let start = (bytes.len().saturating_sub(3)..bytes.len()).find(is_incomplete);
    bytes.split_off(start.unwrap_or(bytes.len()))
}

#[derive(Default)]
struct Decoded {
    keys: Vec<KeyEvent>,
    /// After `ESC O`, which some terminals send before the last letter of a cursor key.
    is_shift: bool,
}

impl Decoded {
    fn push(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.keys.push(KeyEvent::new(code, modifiers));
    }
}

fn cursor_key(letter: char) -> Option<KeyCode> {
    Some(match letter {
        'A' => KeyCode::Up,
        'B' => KeyCode::Down,
        'C' => KeyCode::Right,
        'D' => KeyCode::Left,
        'H' => KeyCode::Home,
        'F' => KeyCode::End,
        _ => return None,
    })
}

impl Perform for Decoded {
    fn print(&mut self, c: char) {
        if std::mem::take(&mut self.is_shift) {
            self.keys.extend(cursor_key(c).map(KeyEvent::from));
        } else if c == '\u{7f}' {
            self.keys.push(KeyCode::Backspace.into());
        } else {
            self.keys.push(KeyCode::Char(c).into());
        }
    }

    fn execute(&mut self, byte: u8) {
        self.is_shift = false;
        match byte {
            b'\r' | b'\n' => self.keys.push(KeyCode::Enter.into()),
            b'\t' => self.keys.push(KeyCode::Tab.into()),
            0x08 => self.keys.push(KeyCode::Backspace.into()),
            0x01..=0x1a => self.push(KeyCode::Char(char::from(byte - 1 + b'a')), KeyModifiers::CONTROL),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, _intermediates: &[u8], _ignore: bool, byte: u8) {
        self.is_shift = byte == b'O';
        if !self.is_shift {
            self.push(KeyCode::Char(char::from(byte)), KeyModifiers::ALT);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _intermediates: &[u8], _ignore: bool, action: char) {
        let number = params.iter().next().and_then(|param| param.first().copied());
        let code = match (action, number) {
            ('~', Some(1 | 7)) => Some(KeyCode::Home),
            ('~', Some(3)) => Some(KeyCode::Delete),
            ('~', Some(4 | 8)) => Some(KeyCode::End),
            ('~', Some(5)) => Some(KeyCode::PageUp),
            ('~', Some(6)) => Some(KeyCode::PageDown),
            (letter, _) => cursor_key(letter),
        };
        self.keys.extend(code.map(KeyEvent::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        Decoder::default().decode(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn each_sequence_is_decoded_to_its_key() {
        for (bytes, code) in [
            (&b"q"[..], KeyCode::Char('q')),
            ("é".as_bytes(), KeyCode::Char('é')),
            (b"\r", KeyCode::Enter),
            (b"\n", KeyCode::Enter),
            (b"\t", KeyCode::Tab),
            (b"\x7f", KeyCode::Backspace),
            (b"\x08", KeyCode::Backspace),
            (b"\x1b", KeyCode::Esc),
            (b"\x1b[A", KeyCode::Up),
            (b"\x1bOB", KeyCode::Down),
            (b"\x1b[1;5C", KeyCode::Right),
            (b"\x1bOD", KeyCode::Left),
            (b"\x1b[H", KeyCode::Home),
            (b"\x1b[1~", KeyCode::Home),
            (b"\x1b[4~", KeyCode::End),
            (b"\x1b[3~", KeyCode::Delete),
            (b"\x1b[5~", KeyCode::PageUp),
            (b"\x1b[6~", KeyCode::PageDown),
        ] {
            assert_eq!(codes(bytes), [code], "{}", bytes.escape_ascii());
        }
        let control = Decoder::default().decode(b"\x03\x1bx");
        assert_eq!(control[0], KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert_eq!(control[1], KeyEvent::new(KeyCode::Char('x'), KeyModifiers::ALT));
    }

    #[test]
    fn a_sequence_in_pieces_is_decoded() {
        let mut decoder = Decoder::default();
        for piece in [&b"\x1b["[..], b"1;", b"5"] {
            assert_eq!(decoder.decode(piece), []);
        }
        assert_eq!(decoder.decode(b"Ax\xc3"), [KeyCode::Up, KeyCode::Char('x')].map(KeyEvent::from));
        assert_eq!(decoder.decode(b"\xa9"), [KeyCode::Char('é').into()]);
        for (piece, keys) in
            [(&b"\xc3"[..], ""), (b"\xa9a\xe2", "éa"), (b"\x82", ""), (b"\xac\xf0\x9f", "€"), (b"x", "\u{fffd}x")]
        {
            let keys: Vec<KeyEvent> = keys.chars().map(|key| KeyCode::Char(key).into()).collect();
            assert_eq!(decoder.decode(piece), keys, "{}", piece.escape_ascii());
        }
        for (piece, keys) in [(&b"\xf0\x9f\x92"[..], ""), (b"\xf0\x9f", "\u{fffd}"), (b"\x98\x80", "😀")] {
            let keys: Vec<KeyEvent> = keys.chars().map(|key| KeyCode::Char(key).into()).collect();
            assert_eq!(decoder.decode(piece), keys, "{}", piece.escape_ascii());
        }
        assert_eq!(decoder.decode(b"\x1b["), []);
        assert_eq!(decoder.decode(b"\x1b"), [KeyCode::Esc.into()], "Esc ends an incomplete sequence");
        assert_eq!(decoder.decode(b"q"), [KeyCode::Char('q').into()]);
    }

    #[test]
    fn unknown_sequences_are_left_out() {
        // A function key, a report, a mouse event, an operating system command, a NUL byte.
        assert_eq!(codes(b"\x1b[15~\x1b[?62;c\x1b[<0;3;4M\x1b]0;x\x07\x00q"), [KeyCode::Char('q')]);
        assert!(codes(b"\xff\xfe").iter().all(|code| *code == KeyCode::Char('\u{fffd}')));
    }
}
