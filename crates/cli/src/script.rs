//! Script files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::text::printable;

/// A larger file is no script.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Why a script file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is not text in UTF-8 (byte {0} is not)")]
    NotUtf8(usize),
    #[error("is larger than {} MiB", LARGEST / 1024 / 1024)]
    TooLarge,
    #[error("is not a file")]
    NotAFile,
}

/// A script file with the name that it is shown under.
#[derive(Debug)]
pub(crate) struct ScriptFile {
    pub(crate) name: String,
    pub(crate) text: Result<String, ReadError>,
}

/// Reads the files. What cannot be read is told with the script that it is.
pub(crate) fn read_all(paths: &[PathBuf]) -> Vec<ScriptFile> {
    let names = names(paths);
    paths
        .iter()
        .zip(names)
        .map(|(path, name)| ScriptFile { name, text: read(path) })
        .collect()
}

fn read(path: &Path) -> Result<String, ReadError> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > LARGEST {
        return Err(ReadError::TooLarge);
    }
    let text = String::from_utf8(fs::read(path)?);
    text.map(without_preamble)
        .map_err(|error| ReadError::NotUtf8(error.utf8_error().valid_up_to()))
}

/// Without what is not for Rhai: an editor's byte order mark, and a first line that tells the system which program this is for.
/// That line stays, empty, so that the others keep their numbers.
fn without_preamble(text: String) -> String {
    let script = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if script.starts_with("#!") {
        script.find('\n').map_or("", |end| &script[end..]).to_owned()
    } else if script.len() < text.len() {
        script.to_owned()
    } else {
        text
    }
}

/// The files' own names; the whole paths where two would be the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    let shown = |name: String| printable(&name).into_owned();
    let shorts: Vec<String> = paths.iter().map(short).map(shown).collect();
    let unique = shorts.iter().collect::<std::collections::HashSet<_>>().len() == shorts.len();
    if unique {
        shorts
    } else {
        paths.iter().map(|path| shown(path.display().to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_rhai_is_left_out() {
        for (text, script) in [
            ("let x = 1;", "let x = 1;"),
            ("\u{feff}let x = 1;", "let x = 1;"),
            ("#!/usr/bin/env inflight\nlet x = 1;", "\nlet x = 1;"),
            ("\u{feff}#!inflight\r\n1", "\n1"),
            ("#!nothing else", ""),
            ("", ""),
        ] {
            assert_eq!(without_preamble(text.to_owned()), script, "{text:?}");
        }
    }
}
