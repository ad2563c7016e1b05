// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file of lines, as `watch` prints them, read again.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use retrans_sdk::format::{Line, ParseLineError};

/// Many times what a line takes. A file that is no recording at all is not read into memory for want of line ends.
const LONGEST: u64 = 64 * 1024;

/// Why a recording cannot be read on.
#[derive(Debug)]
pub enum Error {
    /// The file itself.
    Io(io::Error),
    /// This line, the first being 1.
    Line {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Line { number, problem } => write!(f, "line {number}: {problem}"),
        }
    }
}

impl std::error::Error for Error {}

/// Opens a recording; `-` is stdin.
///
/// # Errors
///
/// If there is no such file, or it may not be read.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

/// The lines of a recording, up to the first that is none. A last line without its end was torn off while it was written.
pub fn lines(mut recording: impl BufRead) -> impl Iterator<Item = Result<Line, Error>> {
    let mut buffer = Vec::new();
    let mut number = 0;
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        number += 1;
        buffer.clear();
        let line = match (&mut recording).take(LONGEST).read_until(b'\n', &mut buffer) {
            Ok(0) => return None,
            Ok(_) => parse(&buffer).map_err(|problem| Error::Line { number, problem }),
            Err(error) => Err(Error::Io(error)),
        };
        over = line.is_err();
        Some(line)
    })
}

fn parse(bytes: &[u8]) -> Result<Line, String> {
    let Some(bytes) = bytes.strip_suffix(b"\n") else {
        return Err("it has no end".to_owned());
    };
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    text.parse().map_err(|error: ParseLineError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
        daddr=10.0.0.2 dport=443 state=established segs=1 class=drop later=x";

    fn read(text: &[u8]) -> (Vec<String>, Option<String>) {
        let (mut good, mut bad) = (Vec::new(), None);
        for line in lines(text) {
            match line {
                Ok(line) => good.push(line.to_string()),
                Err(error) => assert!(bad.replace(error.to_string()).is_none(), "it ends at the first"),
            }
        }
        (good, bad)
    }

    #[test]
    fn gives_the_lines_back() {
        assert_eq!(read(b""), (vec![], None));
        assert_eq!(read(format!("{LINE}\n{LINE}\n").as_bytes()), (vec![LINE.to_owned(); 2], None));
    }

    #[test]
    fn says_which_line_is_none() {
        let (good, bad) = read(format!("{LINE}\nhello\n{LINE}\n").as_bytes());
        assert_eq!((good.len(), bad.as_deref()), (1, Some("line 2: column 1: `hello` is not key=val")));
        let (good, bad) = read(&format!("{LINE}\n{LINE}").as_bytes()[..LINE.len() + 40]);
        assert_eq!((good.len(), bad.as_deref()), (1, Some("line 2: it has no end")));
        assert_eq!(read(b"\xff\n").1.as_deref(), Some("line 1: it is not text"));
        let (_, bad) = read(format!("{LINE} {}\n", "x".repeat(1 << 20)).as_bytes());
        assert_eq!(bad.as_deref(), Some("line 1: it has no end"), "and is not kept in memory");
    }
}
