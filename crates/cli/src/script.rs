//! Script files.

use std::path::{Path, PathBuf};
use std::{fs, io};

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
    String::from_utf8(fs::read(path)?).map_err(|error| ReadError::NotUtf8(error.utf8_error().valid_up_to()))
}

/// The files' own names; the whole paths where two would be the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    };
    let shorts: Vec<String> = paths.iter().map(short).collect();
    let unique = shorts.iter().collect::<std::collections::HashSet<_>>().len() == shorts.len();
    if unique {
        shorts
    } else {
        paths.iter().map(|path| path.display().to_string()).collect()
    }
}
