//! Files that a script sends: from bytes that it holds, or from a folder that the host allows.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use inflight_rhai::{invalid_argument, text_argument, wrong_type};
use inflight_stripe::Upload;
use rhai::{Blob, Dynamic, Map};

use crate::Answer;
use crate::host::StripeHost;
use crate::options::{shortened, unknown_name};

/// What a map that stands for a file may hold.
const FIELDS: [&str; 4] = ["data", "name", "path", "type"];

/// The largest file that is read, in bytes: what Stripe takes. <https://docs.stripe.com/file-upload>
const LARGEST: u64 = 16 * 1024 * 1024;

/// What a file is called that has no name.
const UNNAMED: &str = "blob";

/// The file that a value stands for: a blob, `#{ data: blob, name: "a.pdf", type: "application/pdf" }`, or
/// `#{ path: "a.pdf" }` below the folder that the host allows.
pub(crate) fn upload(host: &StripeHost, value: &Dynamic) -> Answer<Upload> {
    if let Some(bytes) = bytes(value) {
        return Ok(Upload::new(UNNAMED, bytes));
    }
    let Some(map) = value.read_lock::<Map>() else {
        return Err(wrong_type("a file", "a blob, or a map with `data` or `path`", value));
    };
    if let Some(unknown) = map.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(invalid_argument(&unknown_name(unknown, "field of a file", &FIELDS)));
    }
    let given = |name: &str| map.get(name).filter(|value| !value.is_unit());
    let (name, bytes) = match (given("data"), given("path")) {
        (Some(data), None) => {
            let bytes = bytes(data).ok_or_else(|| wrong_type("`data`", "a blob", data))?;
            (UNNAMED.to_owned(), bytes)
        }
        (None, Some(path)) => read(host, &text_argument("`path`", path)?)?,
        _ => return Err(invalid_argument("a file needs either `data` or `path`")),
    };
    let name = match given("name") {
        Some(given) => text_argument("`name`", given)?.to_string(),
        None => name,
    };
    let file = Upload::new(name, bytes);
    match given("type") {
        Some(given) => Ok(file.with_content_type(text_argument("`type`", given)?)),
        None => Ok(file),
    }
}

fn bytes(value: &Dynamic) -> Option<Vec<u8>> {
    value.read_lock::<Blob>().map(|blob| blob.to_vec())
}

/// A file below the allowed folder: its name and its bytes. It is small enough to be read at once.
fn read(host: &StripeHost, path: &str) -> Answer<(String, Vec<u8>)> {
    let Some(folder) = &host.options().upload_folder else {
        return Err(inflight_rhai::script_error(
            "not_allowed",
            "no folder is allowed to send files from: give the bytes as a blob",
        ));
    };
    let refused = || {
        inflight_rhai::script_error(
            "not_allowed",
            &format!(
                "`{}` is no file in the folder that files may be sent from",
                shortened(path)
            ),
        )
    };
    let relative = Path::new(path);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(refused());
    }
    // Links are followed before it is known where they lead.
    let folder = folder.canonicalize().map_err(|_| refused())?;
    let found = folder.join(relative).canonicalize().map_err(|_| refused())?;
    if !found.starts_with(&folder) || !found.is_file() {
        return Err(refused());
    }
    let mut bytes = Vec::new();
    let file = File::open(&found).map_err(|_| refused())?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|_| refused())?;
    if bytes.len() as u64 > LARGEST {
        return Err(invalid_argument(&format!(
            "`{}` is larger than {LARGEST} bytes, and Stripe takes no more",
            shortened(path)
        )));
    }
    let name = relative.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, bytes))
}
