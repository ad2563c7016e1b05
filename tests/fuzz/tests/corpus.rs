// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the corpora, and changed copies of their files, without libFuzzer. It is the short form of
//! `make fuzz`, and requires no instrumented build.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use retrans_fuzz::{TARGETS, Target};

/// The number of changed copies for each target.
const COPIES: u64 = 1_000;

/// The maximum time for one input. The slowest one needs milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Returns the files of a target's corpus, in the order of their names.
fn files(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(corpus(target.name)).unwrap_or_else(|error| panic!("{}: {error}", target.name));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file of the corpus"))).collect()
}

fn run(target: &Target, bytes: &[u8], what: &str) {
    let began = Instant::now();
    (target.run)(bytes);
    let took = began.elapsed();
    assert!(took < LIMIT, "{} needs {took:?} for {what}: {:?}", target.name, bytes.escape_ascii().to_string());
}

/// Reproducible random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

/// Returns a copy of one file with a few changes, among them parts of another file.
fn changed(random: &mut Random, one: &[u8], other: &[u8], max_len: usize) -> Vec<u8> {
    const BYTES: [u8; 12] = [0, 1, b'\n', b' ', b'=', b'-', b'0', b'9', 0x1b, 0x7f, 0x80, 0xff];
    let mut bytes = one.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, BYTES[random.below(BYTES.len())]),
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = BYTES[random.below(BYTES.len())];
                }
            }
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            4 => {
                let from = random.below(other.len() + 1);
                let length = random.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..from + length].iter().copied());
            }
            _ => {
                let end = at + random.below(bytes.len() - at + 1);
                bytes.drain(at..end);
            }
        }
    }
    bytes.truncate(max_len);
    bytes
}

#[test]
fn every_file_of_the_corpora_passes() {
    for target in TARGETS {
        let files = files(target);
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for (path, bytes) in files {
            assert!(bytes.len() <= target.max_len, "{path:?} is longer than {} bytes", target.max_len);
            run(target, &bytes, &path.display().to_string());
        }
    }
    let folders: Vec<_> = fs::read_dir(corpus("")).expect("corpora").collect();
    assert_eq!(folders.len(), TARGETS.len(), "a corpus without a target");
}

#[test]
fn changed_files_pass() {
    for target in TARGETS {
        let files = files(target);
        let mut random = Random(0x5eed);
        for number in 0..COPIES {
            let [(_, one), (_, other)] = [(); 2].map(|()| &files[random.below(files.len())]);
            let bytes = changed(&mut random, one, other, target.max_len);
            run(target, &bytes, &format!("copy {number}"));
        }
    }
}
