//! `inflight check`.

use std::io;

use inflight::stripe_rhai::{HostOptions, StripeHost, StripePackage, check_script};

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
                say(io::stdout(), &format!("{path}: {error}\n"));
                status = FAILED;
                continue;
            }
        };
        for finding in findings {
            let message = one_line(&finding.message);
            say(
                io::stdout(),
                &format!("{path}:{}:{}: {message}\n", finding.line, finding.column),
            );
            status = FAILED;
        }
    }
    status
}
