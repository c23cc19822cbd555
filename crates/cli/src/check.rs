//! `inflight check`.

use inflight::stripe_rhai::{HostOptions, StripeHost, StripePackage, check_script};

use crate::args::CheckArguments;
use crate::script::read_all;
use crate::{FAILED, OK};

/// Prints what is found as `file:line:column: message`, and gives the exit status.
pub(crate) fn check(arguments: &CheckArguments) -> u8 {
    let engine = StripePackage::new_engine(&StripeHost::new(HostOptions::default()));
    let mut status = OK;
    for (script, path) in read_all(&arguments.scripts).iter().zip(&arguments.scripts) {
        let path = path.display();
        let findings = match &script.text {
            Ok(text) => check_script(&engine, text),
            Err(error) => {
                println!("{path}: {error}");
                status = FAILED;
                continue;
            }
        };
        for finding in findings {
            println!("{path}:{}:{}: {}", finding.line, finding.column, finding.message);
            status = FAILED;
        }
    }
    status
}
