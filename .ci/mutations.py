#!/usr/bin/env python3
"""Takes the mechanisms behind promises of docs/reliability.md out, one by one, and shows that the promise's test then fails.

Works on a copy of the repository's last commit, in a folder of its own that is removed at the end. Exits with 1 where a test passes
without its mechanism, where one does not compile, or where a mechanism is not found any more: then this list is to be brought up to
date.

    python3 .ci/mutations.py [--target FOLDER] [WORD...]

With words, only the mutations whose name has one of them.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

# What is taken out: a name, the file, what stands there, what stands there instead, the package and its test.
MUTATIONS = [
    (
        "each attempt has a key of its own",
        "crates/transport/src/compose.rs",
        "if let Some(key) = request.idempotency_key.text(id) {",
        'if let Some(key) = request.idempotency_key.text(id).map(|key| format!("{key}{}", fastrand::u32(..))) {',
        ("inflight-transport", "every_attempt_has_the_same_key_and_the_same_bytes"),
    ),
    (
        "a refusal settles what was in doubt",
        "crates/transport/src/exchange.rs",
        "if progress.in_doubt && !self.guarded",
        "if false && !self.guarded",
        ("inflight", "what_is_not_known_is_not_guessed"),
    ),
    (
        "the retry budget grants everything",
        "crates/transport/src/budget.rs",
        "let granted = wait <= LONGEST_WAIT.min(most.as_secs_f64());",
        "let granted = true;",
        ("inflight-transport", "the_budget_bounds_what_the_policy_wants"),
    ),
    (
        "lanes hold nobody back",
        "crates/transport/src/lanes.rs",
        "if let Some(waiting) = self.waiting.get_mut(&*lane) {",
        "if let Some(waiting) = self.waiting.get_mut(&*lane).filter(|_| false) {",
        ("inflight-transport", "one_object_is_changed_by_one_request_at_a_time_and_in_order"),
    ),
    (
        "pauses are not spread",
        "crates/stripe/src/policy/retry.rs",
        ".saturating_add(bound.mul_f64(random))",
        ".saturating_add(bound.mul_f64(random.mul_add(0.0, 1.0)))",
        ("inflight-stripe", "pauses_are_spread_over_the_whole_range"),
    ),
    (
        "a key is believed in for ever",
        "crates/stripe/src/policy/retry.rs",
        "if attempt.elapsed.saturating_add(pause) >= lifetime =>",
        "if false && attempt.elapsed.saturating_add(pause) >= lifetime =>",
        ("inflight-stripe", "an_old_key_is_never_sent_again"),
    ),
    (
        "a sleeping machine's keys stay young",
        "crates/transport/src/exchange.rs",
        "again.expires <= began || self.has_outlived_its_key(&again)",
        "again.expires <= began || false && self.has_outlived_its_key(&again)",
        ("inflight-transport", "a_key_that_was_forgotten_while_the_machine_slept_is_not_sent_again"),
    ),
    (
        "a caller's key is used again and again",
        "crates/core/src/submission.rs",
        "&& !self.claim_key(id, &request)",
        "&& !(self.claim_key(id, &request) || true)",
        ("inflight-core", "a_key_is_given_to_one_request_only"),
    ),
    (
        "the store takes anything under a key",
        "crates/store/src/append.rs",
        '"x.key_scope IS NULL OR NOT EXISTS',
        '"x.key_scope IS NULL OR 1 = 1 OR NOT EXISTS',
        ("inflight-store", "the_same_may_be_submitted_again_under_its_key"),
    ),
    (
        "the store forgets how old a key is",
        "crates/store/src/transaction.rs",
        '"(r.idempotency_key IS NULL OR COALESCE',
        '"(1 = 1 OR COALESCE',
        ("inflight-store", "a_key_that_has_become_too_old_meanwhile_is_not_sent"),
    ),
    (
        "what a worker leaves stays with it",
        "crates/core/src/entry/ending.rs",
        "if self.leave() && registry.queue_gone",
        "if self.leave() && false && registry.queue_gone",
        ("inflight-store", "what_a_worker_has_left_is_the_next_ones_also_in_the_same_process"),
    ),
    (
        "a job that is dropped ends nothing",
        "crates/core/src/queue.rs",
        "        entry.left_cancelled();\n        if is_stale || entry.give_up() {\n            return;\n        }",
        "        entry.left_cancelled();\n        if is_stale || entry.give_up() || true {\n            return;\n        }",
        ("inflight-core", "every_request_ends_exactly_once"),
    ),
]


def run_test(folder, target, package, test):
    """What becomes of the test: `passes`, `fails`, `hangs`, or why it does not run."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target), CARGO_TERM_COLOR="never")
    command = ["cargo", "test", "--locked", "--package", package, "--lib", "--tests"]

    def cargo(*further, timeout=None):
        return subprocess.run(
            [*command, *further], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
        )

    built = cargo("--no-run")
    if built.returncode != 0:
        return f"does not compile: {next((line for line in built.stderr.splitlines() if line.startswith('error')), '')}"
    try:
        # A request that nobody ends is a test that hangs.
        ended = cargo("--", test, timeout=300)
    except subprocess.TimeoutExpired:
        return "hangs"
    if f"{test} ... " not in ended.stdout:
        return "does not run"
    return "passes" if ended.returncode == 0 else "fails"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=pathlib.Path, help="a target folder to use and keep (one that is removed at the end)")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    chosen = [m for m in MUTATIONS if not options.words or any(word in m[0] for word in options.words)]
    sound = bool(chosen)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "repository"
        subprocess.run(["git", "clone", "--quiet", str(root), str(folder)], check=True)
        target = (options.target or pathlib.Path(scratch) / "target").resolve()
        for name, file, there, instead, (package, test) in chosen:
            path = folder / file
            text = path.read_text()
            if text.count(there) != 1:
                print(f"{name}: {file} does not have it once: {there}")
                sound = False
                continue
            before = run_test(folder, target, package, test)
            path.write_text(text.replace(there, instead))
            without = run_test(folder, target, package, test)
            path.write_text(text)
            good = before == "passes" and without in ("fails", "hangs")
            sound &= good
            print(f"{'ok' if good else 'NO'}: {name}: {package} {test} {before}, and without it {without}", flush=True)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
