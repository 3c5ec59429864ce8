//! `sixty doctor`: what is wrong with this machine, with our files on it and with the daemon, and how to mend it.
//! It changes nothing and reads no key.

mod files;
mod live;
mod machine;

use super::{
    launch,
    places::{self, DaemonOptions},
};
use crate::model::Finding;

/// Looks at everything that can be looked at.
pub fn examine(options: &DaemonOptions) -> Vec<Finding> {
    let mut findings = machine::all();
    match places::usual(options.config.as_deref()) {
        Err(fault) => findings.push(Finding::bad("config", fault.to_string(), "set HOME, or name a file: --config")),
        Ok(usual) => {
            let (config, found) = files::config(&usual.config);
            findings.push(config);
            let found = found.unwrap_or_default();
            findings.extend(launch::programs(&found).iter().map(|program| files::runs(program)));
            let paths = usual.under(&found, crate::config::environment);
            findings.extend(files::all(&paths));
            let control = options.control_socket.as_deref().unwrap_or(&paths.control);
            findings.extend(live::all(control));
        }
    }
    findings
}
