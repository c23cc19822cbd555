//! `inflight check`.

use inflight::stripe_rhai::{HostOptions, Migration, StripeHost, StripePackage, check_script, migrations};

use crate::args::CheckArguments;
use crate::script::read_all;
use crate::stream::say;
use crate::text::{one_line, printable};
use crate::{FAILED, OK};

/// Prints what is found as `file:line:column: message`, and gives the exit status.
pub(crate) fn check(arguments: &CheckArguments) -> u8 {
    let engine = StripePackage::new_engine(&StripeHost::new(HostOptions::default()));
    let mut status = OK;
    for (script, path) in read_all(&arguments.scripts).iter().zip(&arguments.scripts) {
        let path = path.display().to_string();
        let path = printable(&path);
        let findings = match &script.text {
            Ok(text) => check_script(&engine, text),
            Err(error) => {
                say(&format!("{path}: {error}\n"));
                status = FAILED;
                continue;
            }
        };
        for finding in findings {
            let message = one_line(&finding.message);
            say(&format!("{path}:{}:{}: {message}\n", finding.line, finding.column));
            status = FAILED;
        }
        if arguments.migrate
            && let Ok(text) = &script.text
        {
            for migration in migrations(&engine, text) {
                say(&shown(&path, &migration));
                status = FAILED;
            }
        }
    }
    status
}

/// `file:line:column: message`, and below it the lines as they would be.
fn shown(path: &str, migration: &Migration) -> String {
    let message = one_line(&migration.message);
    let mut text = format!("{path}:{}:{}: {message}\n", migration.line, migration.column);
    for (number, is_new, line) in migration.rewritten.iter().flat_map(|rewritten| &rewritten.lines) {
        let mark = if *is_new { '+' } else { '|' };
        text.push_str(&format!("{number:>6} {mark} {}\n", printable(line)));
    }
    text
}
