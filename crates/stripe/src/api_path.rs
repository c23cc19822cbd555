//! Paths that a server tells us to follow.

/// The longest path that is followed, with its query. A bound of our own.
const LENGTH_MAX: usize = 8192;

/// Whether this is a path of Stripe's API, written so that it cannot become anything else: not another host, not another path.
pub(crate) fn is_api_path(url: &str) -> bool {
    let plain = url.len() <= LENGTH_MAX
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#'));
    let path = url.split('?').next().unwrap_or_default();
    plain
        && (path.starts_with("/v1/") || path.starts_with("/v2/"))
        && path
            .split('/')
            .skip(1)
            .all(|segment| !segment.is_empty() && !is_step(segment))
}

/// Whether a path's segment is `.` or `..`, however it is written: a URL takes it as a step, not as a name.
pub(crate) fn is_step(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}
