//! How many sockets the program may open.

/// Descriptors that are not for requests: standard streams, the simulator's listener, runtimes.
const RESERVED: u64 = 256;

/// Raises the soft limit of file descriptors to the hard one and gives how many requests can be in flight: the wanted number, or
/// what the limit allows with each request's `sockets` in this process.
pub(crate) fn concurrency_within_limit(wanted: u32, sockets: u64) -> (u32, Option<String>) {
    // Where the limit cannot be read, the operating system will say so at the socket that is too many.
    let Ok(limit) = rlimit::increase_nofile_limit(rlimit::INFINITY) else {
        return (wanted, None);
    };
    // A tenth stays free: a connection pool opens a few more connections than it has requests, and closes them late.
    let sockets_possible = limit.saturating_sub(RESERVED) / 10 * 9;
    let possible = u32::try_from(sockets_possible / sockets.max(1))
        .unwrap_or(u32::MAX)
        .max(1);
    if wanted <= possible {
        return (wanted, None);
    }
    let message = format!(
        "at most {possible} of the {wanted} requests wanted can be in flight at once: the limit of open files is {limit} (see ulimit -n)"
    );
    (possible, Some(message))
}
