//! Tests of what the environment decides run themselves again, in a process with an environment of its own.

use std::process::Command;

const CHILD: &str = "INFLIGHT_TEST_CHILD";

/// Runs the test of this name again with these variables set, and checks that it passes. Gives whether this is that second
/// run, whose body is the test.
pub(crate) fn run_in_child(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && output.contains("1 passed"), "{output}");
    false
}
