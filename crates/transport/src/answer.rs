//! Reading an answer, within bounds.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use inflight_core::Response;

/// What is set aside for a body before its first byte has come, at most.
const FIRST_CAPACITY: u64 = 64 * 1024;

/// Why an answer could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Client(reqwest::Error),
    TooLarge,
}

impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        Self::Client(error)
    }
}

/// Reads the whole body, up to `max_body` bytes, and the headers of these names.
pub(crate) async fn read(
    mut answer: reqwest::Response,
    keep_headers: &'static [&'static str],
    max_body: usize,
) -> Result<Response, ReadError> {
    let status = answer.status().as_u16();
    let headers = kept(&answer, keep_headers);
    let announced = answer.content_length().unwrap_or(0);
    if announced > max_body as u64 {
        return Err(ReadError::TooLarge);
    }
    // Copied once: a slice of the connection's read buffer would keep that buffer alive for as long as the result is kept.
    let mut body = BytesMut::with_capacity(announced.min(FIRST_CAPACITY) as usize);
    while let Some(chunk) = answer.chunk().await? {
        if chunk.len() > max_body - body.len() {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        status,
        headers,
        body: exact(body),
    })
}

/// The bytes without room to spare, since a result may be kept for long.
fn exact(body: BytesMut) -> Bytes {
    if body.capacity() > body.len() + body.len() / 4 {
        Bytes::copy_from_slice(&body)
    } else {
        body.freeze()
    }
}

fn kept(answer: &reqwest::Response, names: &'static [&'static str]) -> Vec<(Cow<'static, str>, Box<str>)> {
    let headers = answer.headers();
    let value = |name: &&'static str| headers.get(*name)?.to_str().ok();
    // Kept for as long as the result is, so without room to spare.
    let mut kept = Vec::with_capacity(names.iter().filter_map(value).count());
    kept.extend(
        names
            .iter()
            .filter_map(|name| Some((Cow::Borrowed(*name), Box::from(value(name)?)))),
    );
    kept
}
