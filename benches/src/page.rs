//! Pages of the documentation that programs write parts of: what they were measured on, and where their part stands.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, exit};

/// What a program writes: its part of `benchmarks.md`, and perhaps a chart.
#[derive(Debug)]
pub struct Part<'a> {
    /// The program, with what else marks its part.
    pub program: &'a str,
    /// Markdown.
    pub text: &'a str,
    /// The chart's file under `generated`, and its SVG.
    pub chart: Option<(&'a str, &'a str)>,
}

impl Part<'_> {
    /// Writes it below the folder that `--write` names, where it names one. Ends the program with 1 where that cannot be.
    pub fn write(&self, docs: &str) {
        if docs.is_empty() {
            return;
        }
        self.replace_in(Path::new(docs)).unwrap_or_else(|error| {
            eprintln!("{docs}: {error}");
            exit(1);
        });
    }

    /// Writes it in place of what stands there, and fails where the page has no place for it.
    fn replace_in(&self, docs: &Path) -> io::Result<()> {
        let path = docs.join("benchmarks.md");
        let page = replace(&fs::read_to_string(&path)?, self.program, self.text)
            .ok_or_else(|| io::Error::other(format!("{} has no place for `{}`", path.display(), self.program)))?;
        if let Some((file, svg)) = self.chart {
            fs::create_dir_all(docs.join("generated"))?;
            fs::write(docs.join("generated").join(file), svg)?;
        }
        fs::write(path, page)
    }
}

/// The page with this in the place that is meant for the program, where it has one.
fn replace(page: &str, program: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- written by `{program}`: begin -->");
    let end = format!("<!-- written by `{program}`: end -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{text}\n{end}{after}"))
}

/// Where and by what a table was made: `how` says what was done, between the machine and the command.
#[must_use]
pub fn circumstances(program: &str, how: &str) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match without_write(&arguments) {
        words if words.is_empty() => String::new(),
        words => format!(" -- {}", words.join(" ")),
    };
    format!(
        "Seen on {}, at commit {}: {how}. {}.\n\n    cargo run --release -p inflight-benches --bin {program}{arguments}\n",
        machine(),
        commit(),
        said(Command::new("rustc").arg("--version")).unwrap_or_default(),
    )
}

/// The program's arguments that matter for what is measured.
fn without_write(arguments: &[String]) -> Vec<&str> {
    let pairs = arguments.chunks(2).filter(|pair| pair[0] != "--write");
    pairs.flatten().map(String::as_str).collect()
}

/// A whole number, with a comma before each three digits.
#[must_use]
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How busy the machine is: the average of the last minute.
#[must_use]
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// What a command prints.
///
/// # Errors
/// Its last words, where it fails.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().lines().last().unwrap_or("no reason given").to_owned())
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let memory = kilobytes.map_or(String::new(), |kilobytes| {
        format!(", {:.0} GB", kilobytes / 1024.0 / 1024.0)
    });
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = system.trim().split('-').next().unwrap_or_default();
    format!("{processor}, {cores} cores{memory}, {} {release}", std::env::consts::OS)
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        said(Command::new("git").arg("-C").arg(root).args(arguments))
    };
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    // The documentation says nothing about what is measured.
    match git(&["status", "--porcelain", "--", ".", ":(top)crates", ":(top)Cargo.lock"]) {
        Ok(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}
