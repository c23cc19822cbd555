//! `multipart/form-data`, read: how files are uploaded. <https://docs.stripe.com/file-upload> (RFC 7578)

use bytes::Bytes;
use inflight_stripe::{Params, Upload, Value, form};

use crate::error::ApiError;

/// No upload of Stripe's has more parts.
const PARTS_MAX: usize = 100;

/// Parameters from parts; those that have a file name are files.
pub(crate) fn decode(content_type: &str, body: &[u8]) -> Result<Params, ApiError> {
    let boundary = attribute(content_type, "boundary").ok_or_else(|| malformed("no boundary"))?;
    let delimiter = format!("--{boundary}");
    let mut rest = after(body, delimiter.as_bytes()).ok_or_else(|| malformed("no part"))?;
    let (mut plain, mut files) = (String::new(), Params::new());
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            let mut params =
                form::decode(&plain).map_err(|error| ApiError::invalid(format!("Invalid request: {error}.")))?;
            for (name, file) in files {
                params.set(name, file);
            }
            return Ok(params);
        }
        let part = rest
            .strip_prefix(b"\r\n")
            .ok_or_else(|| malformed("a part without a line of its own"))?;
        let end = format!("\r\n{delimiter}");
        let (part, next) = split(part, end.as_bytes()).ok_or_else(|| malformed("a part without an end"))?;
        read_part(part, &mut plain, &mut files)?;
        rest = next;
    }
    Err(malformed("too many parts"))
}

fn malformed(why: &str) -> ApiError {
    ApiError::invalid(format!("Invalid request: the multipart body has {why}."))
}

fn read_part(part: &[u8], plain: &mut String, files: &mut Params) -> Result<(), ApiError> {
    let (head, content) = split(part, b"\r\n\r\n").ok_or_else(|| malformed("a part without a head"))?;
    let head = std::str::from_utf8(head).map_err(|_| malformed("a head that is not text"))?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let disposition = header("content-disposition").unwrap_or_default();
    let name = attribute(disposition, "name").ok_or_else(|| malformed("a part without a name"))?;
    if let Some(file_name) = attribute(disposition, "filename") {
        let mut upload = Upload::new(file_name, Bytes::copy_from_slice(content));
        if let Some(kind) = header("content-type") {
            upload = upload.with_content_type(kind);
        }
        files.set(name, Value::File(upload));
        return Ok(());
    }
    let text = std::str::from_utf8(content).map_err(|_| malformed("a text that is not UTF-8"))?;
    if !plain.is_empty() {
        plain.push('&');
    }
    for (text, sign) in [(name.as_str(), '='), (text, ' ')] {
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'[' | b']' | b'_' | b'.' | b'-') {
                plain.push(char::from(byte));
            } else {
                plain.push_str(&format!("%{byte:02X}"));
            }
        }
        if sign == '=' {
            plain.push(sign);
        }
    }
    Ok(())
}

/// `name="value"` in a header.
fn attribute(header: &str, name: &str) -> Option<String> {
    pieces(header).skip(1).find_map(|piece| {
        let (known, value) = piece.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = quoted.map_or(value.to_owned(), |quoted| quoted.replace("\\\"", "\""));
        known.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// What stands between semicolons, of which those within quotes are text.
fn pieces(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    header.split(move |c: char| {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        c == ';' && !quoted
    })
}

fn after<'b>(bytes: &'b [u8], wanted: &[u8]) -> Option<&'b [u8]> {
    split(bytes, wanted).map(|(_, after)| after)
}

fn split<'b>(bytes: &'b [u8], at: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..place], &bytes[place + at.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\ndispute_evidence\r\n--B\r\n\
                     Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\
                     \x00\r\n--\xff\r\n--B--\r\n";
        let params = decode("multipart/form-data; boundary=\"B\"", body).unwrap();
        assert_eq!(params.get("purpose").and_then(Value::as_text), Some("dispute_evidence"));
        let Some(Value::File(file)) = params.get("file") else {
            panic!("{params:?}")
        };
        assert_eq!((file.name(), &file.bytes()[..]), ("a.png", &b"\x00\r\n--\xff"[..]));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (kind, body) in [
            ("multipart/form-data", &b"--B\r\n"[..]),
            ("multipart/form-data; boundary=B", b""),
            ("multipart/form-data; boundary=B", b"--B\r\nx"),
            ("multipart/form-data; boundary=B", b"--B\r\n\r\n\r\nx\r\n--B--"),
            ("multipart/form-data; boundary=", b"--\r\n"),
        ] {
            assert!(decode(kind, body).is_err());
        }
    }
}
