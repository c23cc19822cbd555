//! `multipart/form-data`: a form with a file in it. <https://docs.stripe.com/file-upload>

use sha2::{Digest, Sha256};

use crate::form::{self, EncodeError};
use crate::value::{Params, Upload, Value};

/// A body and its content type, which names the boundary.
pub(crate) struct Multipart {
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// Writes parameters as parts. The boundary is a digest of what it separates, so that no content can hold it, and the same request
/// has the same bytes whenever it is made.
pub(crate) fn encode(params: &Params) -> Result<Multipart, EncodeError> {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for (name, text) in form::pairs(&without_files(params))? {
        add(name.as_bytes());
        add(text.as_bytes());
    }
    for (name, value) in params.iter() {
        if let Value::File(file) = value {
            for text in [name, file.name(), file.content_type()] {
                add(text.as_bytes());
            }
            add(file.bytes());
        }
    }
    let boundary = digest.finalize().iter().take(16).fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    });
    encode_with(params, &boundary)
}

fn without_files(params: &Params) -> Params {
    let mut plain = Params::new();
    for (name, value) in params.iter() {
        if !matches!(value, Value::File(_)) {
            plain.set(name, value.clone());
        }
    }
    plain
}

fn encode_with(params: &Params, boundary: &str) -> Result<Multipart, EncodeError> {
    let mut bytes = Vec::new();
    for (name, text) in form::pairs(&without_files(params))? {
        part(&mut bytes, boundary, &name, None, text.as_bytes());
    }
    for (name, value) in params.iter() {
        if let Value::File(file) = value {
            form::check_name(name)?;
            part(&mut bytes, boundary, name, Some(file), file.bytes());
        }
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(Multipart {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        bytes,
    })
}

fn part(out: &mut Vec<u8>, boundary: &str, name: &str, file: Option<&Upload>, content: &[u8]) {
    let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name={}", quoted(name));
    if let Some(file) = file {
        head.push_str(&format!(
            "; filename={}\r\nContent-Type: {}",
            quoted(file.name()),
            one_line(file.content_type())
        ));
    }
    head.push_str("\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text).replace('"', "%22"))
}

/// A line end would begin another header.
fn one_line(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_as_the_official_libraries_write_them() {
        let params = Params::new()
            .with("file", Upload::new("a\"b\r\nc.txt", &b"x\r\n\0y"[..]))
            .with("purpose", "dispute_evidence")
            .with("file_link_data", Params::new().with("create", true));
        let body = encode_with(&params, "B").unwrap();
        assert_eq!(body.content_type, "multipart/form-data; boundary=B");
        assert_eq!(
            String::from_utf8(body.bytes).unwrap(),
            "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\ndispute_evidence\r\n\
             --B\r\nContent-Disposition: form-data; name=\"file_link_data[create]\"\r\n\r\ntrue\r\n\
             --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b c.txt\"\r\n\
             Content-Type: application/octet-stream\r\n\r\nx\r\n\0y\r\n--B--\r\n"
        );
    }

    #[test]
    fn the_same_content_has_the_same_bytes_and_other_content_another_boundary() {
        let body = |purpose: &str, file: &'static [u8]| {
            let file = Upload::new("a.pdf", file);
            encode(&Params::new().with("purpose", purpose).with("file", file)).unwrap()
        };
        let first = body("x", b"1");
        let again = body("x", b"1");
        assert_eq!((&first.content_type, &first.bytes), (&again.content_type, &again.bytes));
        assert_ne!(first.content_type, body("y", b"1").content_type);
        assert_ne!(first.content_type, body("x", b"2").content_type);
        let boundary = first.content_type.split_once("boundary=").unwrap().1;
        assert_eq!(boundary.len(), 32);
    }
}
