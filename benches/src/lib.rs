//! What the programs that measure have in common: options, a server, charts and pages, and what Linux says of this process.

pub mod allocator;
pub mod chart;
pub mod loopback;
pub mod page;

use std::collections::HashMap;
use std::process::exit;
use std::str::FromStr;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The program's options, each `--name value`.
#[derive(Debug)]
pub struct Options(HashMap<String, String>);

impl Options {
    /// Reads the options after the first `skip` arguments; `--help`, or what cannot be understood, prints the help and ends the
    /// program.
    #[must_use]
    pub fn read(help: &str, skip: usize) -> Self {
        let mut options = HashMap::new();
        let mut arguments = std::env::args().skip(1 + skip);
        while let Some(argument) = arguments.next() {
            let name = argument
                .strip_prefix("--")
                .filter(|name| help.contains(&format!("--{name} ")));
            match (name, arguments.next()) {
                (Some(name), Some(value)) => options.insert(name.to_owned(), value),
                _ => {
                    println!("{help}");
                    exit(i32::from(argument != "--help") * 2);
                }
            };
        }
        Self(options)
    }

    /// The value of this option, or the default. One of the wrong type ends the program.
    #[must_use]
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> T {
        self.0.get(name).map_or(default, |text| parse(name, text))
    }

    /// The values of this option, with commas between them, or of the default. One of the wrong type ends the program.
    #[must_use]
    pub fn list<T: FromStr>(&self, name: &str, default: &str) -> Vec<T> {
        let text = self.0.get(name).map_or(default, String::as_str);
        let values = text.split(',').filter(|value| !value.is_empty());
        values.map(|value| parse(name, value)).collect()
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> T {
    text.parse().unwrap_or_else(|_| {
        eprintln!("--{name} cannot be {text}");
        exit(2)
    })
}

/// A field of `/proc/self/status`: kilobytes, or a count. 0 where there is none.
#[must_use]
pub fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Resident memory now, in kilobytes.
#[must_use]
pub fn resident() -> u64 {
    status("VmRSS")
}

/// The most resident memory so far, in kilobytes.
#[must_use]
pub fn peak_resident() -> u64 {
    status("VmHWM")
}

/// The processor's time that this process has had.
#[must_use]
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither can be negative.
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Threads of this process.
#[must_use]
pub fn threads() -> u64 {
    status("Threads")
}

/// The value in the middle.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Numbers that look random and follow from a seed (SplitMix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below this one, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
