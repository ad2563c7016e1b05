// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inputs of the kernel matrix and their hash.
//!
//! # Design
//! A row of the results is evidence for the sources that it was booted with. The hash covers
//! everything that decides a scenario's result: the BPF programs, the part of the SDK that loads
//! them, the lab, the list of booted kernels, and the files from which the patched ones are built.
//! It is computed from the files alone, so that it is the same in a checkout and in an unpacked
//! archive.
//!
//! Comments of C and Rust sources do not count, and neither does the layout of Rust sources. An
//! edited sentence changes no program, and would cost more than two hours of boots. Nothing else is
//! normalized. A source that cannot be split into tokens counts byte by byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use retrans_lab::{Context, Error, Result};
use retrans_words::source::c_comments;
use sha2::{Digest, Sha256};

/// Files, and directories with everything below them, relative to the top of the tree.
pub const INPUTS: [&str; 5] =
    ["bpf", "retrans-sdk/src/kernel", "tests/lab", "tests/kernels/kernels.list", "tests/kernels/patches"];

/// Returns the hash of the [`INPUTS`] of this tree: SHA-256, in hexadecimal.
///
/// # Errors
/// Returns an error if an input does not exist or cannot be read.
pub fn hash(tree: &Path) -> Result<String> {
    hash_of(tree, &INPUTS)
}

fn hash_of(tree: &Path, inputs: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for input in inputs {
        collect(&tree.join(input), &mut files)?;
    }
    let mut files: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(tree).unwrap_or(&file);
            (name.to_string_lossy().into_owned(), file)
        })
        .collect();
    files.sort();
    let mut sum = Sha256::new();
    for (name, path) in files {
        let bytes = contents(&path).with_context(|| format!("cannot read {path:?}"))?;
        let bytes = without_comments(&name, bytes);
        // Both lengths are included, so that no byte can move from one file into another.
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        sum.update((bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the contents of a file. For a symbolic link it returns the target's path, because the
/// target may not be an input.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_symlink() {
        return Ok(fs::read_link(path)?.into_os_string().into_encoded_bytes());
    }
    fs::read(path)
}

fn without_comments(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    let stripped = match (name.rsplit_once('.'), str::from_utf8(&bytes)) {
        (Some((_, "rs")), Ok(text)) => rust_tokens(text),
        (Some((_, "c" | "h")), Ok(text)) => without_c_comments(text),
        _ => None,
    };
    stripped.map_or(bytes, String::into_bytes)
}

/// Returns the tokens of a Rust source, one per line, without documentation. Returns `None` if the
/// text is not Rust.
fn rust_tokens(text: &str) -> Option<String> {
    let mut tokens = String::new();
    add_tokens(text.parse().ok()?, &mut tokens);
    Some(tokens)
}

fn add_tokens(stream: TokenStream, out: &mut String) {
    let mut stream = stream.into_iter().peekable();
    while let Some(token) = stream.next() {
        match token {
            // A doc comment is `#[doc = "…"]` or `#![doc = "…"]`.
            TokenTree::Punct(hash) if hash.as_char() == '#' => {
                let inner = stream.next_if(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == '!'));
                if stream.next_if(is_doc).is_none() {
                    out.push_str(if inner.is_some() { "#!\n" } else { "#\n" });
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                out.push('\n');
                add_tokens(group.stream(), out);
                out.push_str(close);
                out.push('\n');
            }
            TokenTree::Punct(mark) => {
                out.push(mark.as_char());
                // The line break distinguishes `& &x` from `&&x`.
                if mark.spacing() == Spacing::Alone {
                    out.push('\n');
                }
            }
            other => {
                out.push_str(&other.to_string());
                out.push('\n');
            }
        }
    }
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let mut inside = group.stream().into_iter();
    matches!(inside.next(), Some(TokenTree::Ident(name)) if name == "doc")
        && matches!(inside.next(), Some(TokenTree::Punct(mark)) if mark.as_char() == '=')
        && matches!(inside.next(), Some(TokenTree::Literal(_)))
}

/// Returns a C source without its comments, and without the lines and the ends of lines that were
/// empty or blank because of them. Returns `None` if a comment does not end.
fn without_c_comments(text: &str) -> Option<String> {
    let mut code = String::with_capacity(text.len());
    let mut end = 0;
    for comment in c_comments(text) {
        let is_block = text.get(comment.clone())?.starts_with("/*");
        if is_block && !text.get(comment.clone())?.ends_with("*/") {
            return None;
        }
        code.push_str(text.get(end..comment.start)?);
        // A comment separates two tokens.
        code.push(' ');
        end = comment.end;
    }
    code.push_str(text.get(end..)?);
    let lines = code.lines().map(str::trim_end).filter(|line| !line.is_empty());
    Some(lines.flat_map(|line| [line, "\n"]).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let kind = fs::symlink_metadata(path).with_context(|| format!("input {path:?} of the kernel matrix"))?.file_type();
    if kind.is_file() || kind.is_symlink() {
        files.push(path.to_owned());
    } else if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {path:?}"))? {
            collect(&entry.with_context(|| format!("cannot read {path:?}"))?.path(), files)?;
        }
    } else {
        return Err(Error::new(format!("input {path:?} of the kernel matrix is not a file, a link or a directory")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::scratch::Scratch;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_hash_changes_with_each_input_and_with_nothing_else() {
        let tree = Scratch::new("inputs");
        let inputs = ["bpf", "list"];
        let at = |name: &str| tree.path().join(name);
        write(at("bpf/a.h"), "one");
        write(at("bpf/deep/b.h"), "two");
        write(at("list"), "5.10");
        let hash = || hash_of(tree.path(), &inputs).unwrap();
        let first = hash();
        assert_eq!(first.len(), 64);
        assert_eq!(hash(), first, "the same files");

        write(at("results.tsv"), "not an input");
        assert_eq!(hash(), first);
        write(at("bpf/deep/b.h"), "two!");
        let changed = hash();
        assert_ne!(changed, first, "contents");
        write(at("bpf/deep/b.h"), "two");
        assert_eq!(hash(), first);
        fs::rename(at("bpf/a.h"), at("bpf/c.h")).unwrap();
        assert_ne!(hash(), first, "a name");
        fs::rename(at("bpf/c.h"), at("bpf/a.h")).unwrap();
        write(at("bpf/new.h"), "");
        assert_ne!(hash(), first, "an empty file");
        fs::remove_file(at("bpf/new.h")).unwrap();
        // The same bytes in a row, split at another place.
        write(at("bpf/a.h"), "onet");
        write(at("bpf/deep/b.h"), "wo");
        assert_ne!(hash(), first);
    }

    #[test]
    fn comments_do_not_count_and_code_does() {
        let c = |text| without_comments("a.h", Vec::from(text));
        let code =
            c("int a; /* one\n * two */\n\n// three \\\n four\nchar *b = \"/*\\\"//\"; // five\nchar c = '\"';\n");
        assert_eq!(String::from_utf8(code.clone()).unwrap(), "int a;\nchar *b = \"/*\\\"//\";\nchar c = '\"';\n");
        assert_eq!(c("int a;\nchar *b = \"/*\\\"//\";\nchar c = '\"';"), code);
        assert_ne!(c("int a;\nchar *b = \"/* \\\"//\";\nchar c = '\"';"), code, "a literal");
        assert_eq!(c("int/**/a;"), b"int a;\n", "a comment separates");
        assert_eq!(c("a /* open"), b"a /* open", "counts byte by byte");
        assert_ne!(c("#define A\nB"), c("#define A B"));

        let rust = |text| without_comments("a.rs", Vec::from(text));
        let code = rust("//! Of it.\n#![allow(x)]\n/// One.\n#[inline]\nfn f() { \"// two\" /* three */ }");
        assert_eq!(code, rust("#![allow(x)]\n#[inline]\nfn f() {\n    \"// two\"\n}\n"));
        assert_ne!(code, rust("#![allow(x)]\n#[inline]\nfn f() { \"// too\" }"), "a literal");
        assert_ne!(code, rust("#[allow(x)]\n#[inline]\nfn f() { \"// two\" }"), "an attribute");
        assert_ne!(code, rust("#![allow(x)]\nfn f() { \"// two\" }"), "an attribute");
        assert_ne!(rust("#[doc(hidden)] fn f() {}"), rust("fn f() {}"));
        assert_eq!(rust("fn f( {"), b"fn f( {", "counts byte by byte");
        assert_eq!(without_comments("list", b"# one\n".to_vec()), b"# one\n", "another kind of file");
    }

    #[test]
    fn an_input_that_does_not_exist_is_an_error() {
        let tree = Scratch::new("no_input");
        let error = hash_of(tree.path(), &["bpf"]).unwrap_err().to_string();
        assert!(error.contains("bpf") && error.starts_with("input "), "{error}");
    }

    #[test]
    fn the_inputs_of_this_tree_exist_and_exclude_the_results() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        assert_eq!(hash(tree).unwrap().len(), 64);
        let results = Path::new(crate::results::PATH);
        assert!(INPUTS.iter().all(|input| !results.starts_with(input)), "{INPUTS:?}");
    }
}
