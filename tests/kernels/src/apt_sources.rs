// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system's own apt sources. They provide the address of Debian's archive.

use std::fs;
use std::path::{Path, PathBuf};

use retrans_lab::{Context, Error, Result};

/// The directory in which apt keeps its sources.
const ETC_APT: &str = "/etc/apt";

/// The last part of the path of each of the two archives. They are recognized by it.
const MAIN: &str = "debian";
const SECURITY: &str = "debian-security";

/// The addresses of Debian's archives on the mirror that this system uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    main: String,
    security: String,
}

impl Mirror {
    /// Reads the addresses from the system's apt sources.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if no source is Debian's archive.
    pub fn of_this_system() -> Result<Self> {
        Self::from_directory(Path::new(ETC_APT))
    }

    /// Reads the addresses from `sources.list`, `sources.list.d/*.list` and
    /// `sources.list.d/*.sources` of this directory.
    ///
    /// # Errors
    /// Returns the errors of [`of_this_system`](Self::of_this_system).
    pub fn from_directory(etc: &Path) -> Result<Self> {
        let mut files: Vec<PathBuf> = vec![etc.join("sources.list")];
        // The directory is optional.
        if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
            files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        files.sort();
        let mut uris = Vec::new();
        for file in files.iter().filter(|file| file.is_file()) {
            let text = || fs::read_to_string(file).with_context(|| format!("cannot read {file:?}"));
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => uris.extend(one_line_uris(&text()?)),
                Some("sources") => uris.extend(deb822_uris(&text()?)),
                // Apt ignores other files, too.
                _ => {}
            }
        }
        Self::from_uris(&uris).ok_or_else(|| {
            Error::new(format!(
                "the apt sources in {etc:?} name no Debian archive (an address that ends in /{MAIN} or /{SECURITY}); \
                 the guest kernels are Debian packages"
            ))
        })
    }

    /// Prefers the address of a source to one that is derived from the address of the other
    /// archive.
    fn from_uris(uris: &[String]) -> Option<Self> {
        let find = |name: &str| uris.iter().find(|uri| archive_of(uri) == Some(name)).cloned();
        let derive = |from: Option<String>, name: &str, other: &str| {
            let uri = from?;
            let (base, list) = uri.strip_suffix(".list").map_or((uri.as_str(), ""), |base| (base, ".list"));
            Some(format!("{}{other}{list}", base.strip_suffix(name)?))
        };
        let main = find(MAIN).or_else(|| derive(find(SECURITY), SECURITY, MAIN))?;
        let security = find(SECURITY).or_else(|| derive(find(MAIN), MAIN, SECURITY))?;
        Some(Self { main, security })
    }

    /// Returns the address of the archive that has this suite.
    pub fn of_suite(&self, suite: &str) -> &str {
        if suite.ends_with("-security") { &self.security } else { &self.main }
    }
}

/// Returns which of Debian's archives an address belongs to. The address of a list of mirrors ends
/// in `.list`.
fn archive_of(uri: &str) -> Option<&'static str> {
    let last = uri.rsplit('/').next().unwrap_or(uri);
    let last = last.strip_suffix(".list").unwrap_or(last);
    [MAIN, SECURITY].into_iter().find(|name| *name == last)
}

/// Returns an address without the slash at its end. Returns `None` for a medium that must be
/// inserted.
fn usable(uri: &str) -> Option<String> {
    (!uri.starts_with("cdrom:")).then(|| uri.trim_end_matches('/').to_owned())
}

/// Reads lines of the form `deb [option=value …] URI suite component …`. Only lines with the
/// component `main` are used.
fn one_line_uris(text: &str) -> Vec<String> {
    let uri = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (uri, _suite) = (words.next()?, words.next()?);
        words.any(|component| component == "main").then(|| usable(uri)).flatten()
    };
    text.lines().filter_map(uri).collect()
}

/// Reads stanzas of `Key: value` lines. A value may continue in lines that begin with a space.
fn deb822_uris(text: &str) -> Vec<String> {
    let mut stanzas: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(stanza) = stanzas.last_mut() else { break };
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut uris = Vec::new();
    for stanza in stanzas {
        let words = |key: &str| {
            let value = stanza.iter().find(|(other, _)| other == key).map_or("", |(_, value)| value);
            value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let has = |key: &str, word: &str| words(key).iter().any(|other| other.eq_ignore_ascii_case(word));
        if has("types", "deb") && has("components", "main") && !has("enabled", "no") {
            uris.extend(words("uris").iter().filter_map(|uri| usable(uri)));
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn mirror(main: &str, security: &str) -> Mirror {
        Mirror { main: main.to_owned(), security: security.to_owned() }
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "# deb https://old.example.org/debian bookworm main\n\
             deb-src https://src.example.org/debian bookworm main\n\
             deb cdrom:[Debian]/debian bookworm main\n\
             deb https://example.org/tools stable contrib\n\
             deb [arch=amd64 signed-by=/k.gpg] https://mirror.example.org/debian/ bookworm main contrib # a comment\n\
             deb\thttp://security.example.org/debian-security bookworm-security main\n";
        let uris = one_line_uris(text);
        assert_eq!(uris, ["https://mirror.example.org/debian", "http://security.example.org/debian-security"]);
        let found = Mirror::from_uris(&uris).unwrap();
        assert_eq!(found.of_suite("trixie-backports"), "https://mirror.example.org/debian");
        assert_eq!(found.of_suite("bullseye-security"), "http://security.example.org/debian-security");
    }

    #[test]
    fn deb822_sources_are_read() {
        let text = "Types: deb deb-src\nURIs: http://mirror.example.org/debian\nSuites: trixie\nComponents: main\n\n\
             # a comment\nEnabled: no\nTypes: deb\nURIs: http://off.example.org/debian-security\nComponents: main\n\n\
             Types: deb\nURIs:\n http://example.org/tools\n http://mirror.example.org/debian-security/\n\
             Suites: trixie-security\nComponents: main\nSigned-By:\n -----BEGIN\n .\n -----END\n\n\
             Types: deb-src\nURIs: http://src.example.org/debian\nComponents: main\n";
        let uris = deb822_uris(text);
        assert_eq!(
            uris,
            [
                "http://mirror.example.org/debian",
                "http://example.org/tools",
                "http://mirror.example.org/debian-security"
            ]
        );
    }

    #[test]
    fn the_other_archive_is_derived_from_one() {
        let of = |uri: &str| Mirror::from_uris(&[uri.to_owned()]);
        let expected = mirror("http://example.org/debian", "http://example.org/debian-security");
        assert_eq!(of("http://example.org/debian"), Some(expected.clone()));
        assert_eq!(of("http://example.org/debian-security"), Some(expected));
        let list =
            mirror("mirror+file:/etc/apt/mirrors/debian.list", "mirror+file:/etc/apt/mirrors/debian-security.list");
        assert_eq!(of("mirror+file:/etc/apt/mirrors/debian.list"), Some(list));
        assert_eq!(of("http://example.org/ubuntu"), None);
    }

    #[test]
    fn all_files_that_apt_reads_are_read() {
        let etc = Scratch::new("apt");
        let error = Mirror::from_directory(etc.path()).unwrap_err().to_string();
        assert!(error.contains("name no Debian archive"), "{error}");
        let parts = etc.path().join("sources.list.d");
        fs::create_dir_all(&parts).unwrap();
        fs::write(parts.join("old.list.save"), "deb http://old.example.org/debian x main\n").unwrap();
        fs::write(
            parts.join("a.sources"),
            "Types: deb\nURIs: http://a.example.org/debian-security\nComponents: main\n",
        )
        .unwrap();
        fs::write(etc.path().join("sources.list"), "deb http://b.example.org/debian x main\n").unwrap();
        let found = Mirror::from_directory(etc.path()).unwrap();
        assert_eq!(found, mirror("http://b.example.org/debian", "http://a.example.org/debian-security"));
    }
}
