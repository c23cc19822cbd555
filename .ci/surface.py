#!/usr/bin/env python3
"""What a version promises: the crates' public items, and the program's commands and flags.

    python3 .ci/surface.py            compares them with docs/generated/surface.txt, and fails where they differ
    python3 .ci/surface.py --write    writes that file anew

Needs the crates' documentation (cargo doc --workspace --no-deps --all-features) and the program (cargo build). A line that is gone or has
changed breaks what someone may rely on: CONTRIBUTING.md, "Versions", says what that means for the version. Signatures are not compared.

The pages are another rustdoc's where Rust is another: differences are shown then, and are no failure.
"""

import argparse
import difflib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "docs/generated/surface.txt"
CRATES = ["core", "transport", "stripe", "rhai", "stripe-rhai", "store", "sim", ""]
ITEM = re.compile(r'<a href="((?:\w+/)*[a-z]+\.\w+\.html)">')
MEMBER = re.compile(r'id="(method|tymethod|variant|structfield|associatedconstant)\.(\w+)"')


def items(doc, crate):
    """The items of a crate as `crate::path` or `crate::path.member`, from its pages."""
    for link in ITEM.findall((doc / crate / "all.html").read_text()):
        *modules, file = link.split("/")
        kind, name = file.removesuffix(".html").split(".", 1)
        path = "::".join([crate, *modules, name])
        yield f"{kind} {path}"
        # What a trait of elsewhere gives is that trait's.
        own = re.split(r'id="(?:deref-methods[^"]*|trait-implementations|foreign-impls|implementors)"', (doc / crate / link).read_text())[0]
        for _, member in MEMBER.findall(own):
            yield f"{kind} {path}.{member}"


def commands(program, words=()):
    """A command and its flags, and the same of all commands below it."""
    text = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout
    name = " ".join(["inflight", *words])
    yield f"command {name}"
    for flag in re.findall(r"^ +(?:-\w, )?(--[\w-]+)", text, re.MULTILINE):
        yield f"flag {name} {flag}"
    below = re.search(r"^Commands:\n((?:  .*\n|\n)+)", text, re.MULTILINE)
    for word in re.findall(r"^  (\w[\w-]*)", below.group(1), re.MULTILINE) if below else []:
        if word != "help":
            yield from commands(program, (*words, word))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file anew")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target", help="cargo's target folder (%(default)s)")
    arguments = parser.parse_args()
    found = set(commands(arguments.target / "debug/inflight"))
    for name in CRATES:
        found.update(items(arguments.target / "doc", f"inflight_{name.replace('-', '_')}".rstrip("_")))
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    lines = [f"{line}\n" for line in sorted(found)]
    if arguments.write:
        FILE.write_text(f"# Rust {rust}\n{''.join(lines)}")
        return 0
    written_by, *known = FILE.read_text().splitlines(keepends=True)
    changes = [line for line in difflib.unified_diff(known, lines, n=0) if line[:2] not in ("--", "++", "@@")]
    if changes:
        print("What a version promises has changed (see CONTRIBUTING.md, Versions; then python3 .ci/surface.py --write):")
        sys.stdout.writelines(changes)
    if written_by != f"# Rust {rust}\n":
        print(f"The list was written with {written_by[2:].strip()}, and this is {rust}: no failure")
        return 0
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
