//! A config's files → their text. It never trusts a file that others can change, nor reads one without a bound.

use super::{
    Config, Context,
    fault::{Fault, Faults, Severity},
    preset,
    source::Source,
};
use crate::{
    recipe::Recipe,
    sys::file::{FileError, read_config},
};
use std::{collections::BTreeMap, path::Path};

/// The largest config, in bytes.
const MAX: usize = 1 << 20;

/// Reads and checks a config file and the recipes in `providers/` beside it. Each file is regular, the caller's or
/// root's, not writable by others, at most 1 MiB of UTF-8.
///
/// # Errors
/// All faults of the files or of their texts.
pub fn load(path: &Path) -> Result<(Config, BTreeMap<String, Recipe>), Faults> {
    let (recipes, mut faults) = preset::recipes(&path.with_file_name("providers"));
    let context = Context::here(recipes);
    let config = text(path).and_then(|text| super::parse(&path.to_string_lossy(), &text, &context));
    match config {
        Ok(config) if faults.is_empty() => return Ok((config, context.recipes)),
        Ok(config) => faults.0.extend(config.warnings.0),
        Err(more) => faults.0.extend(more.0),
    }
    Err(faults)
}

/// The text of one file.
pub(super) fn text(path: &Path) -> Result<String, Faults> {
    let name = path.to_string_lossy();
    let bytes = read_config(path, MAX).map_err(|fault| unreadable(&name, &fault))?;
    String::from_utf8(bytes).map_err(|fault| not_text(&name, fault.as_bytes(), fault.utf8_error().valid_up_to()))
}

fn unreadable(name: &str, fault: &FileError) -> Faults {
    let (message, advice) = match fault {
        FileError::Missing { .. } => {
            ("there is no config", "`sixty init` writes one; --config names another".to_owned())
        }
        FileError::NotRegular { .. } => {
            ("this is no regular file", "name the file itself, not a link or a folder".into())
        }
        FileError::Foreign { owner, .. } => {
            ("this file belongs to somebody else", format!("its owner is uid {owner}: it must be you or root"))
        }
        FileError::Open { mode, .. } => {
            ("others can change this file", format!("its mode is {mode:04o}: chmod go-w {name}"))
        }
        FileError::TooLarge { max, .. } => {
            ("this file is too large for a config", format!("it has more than {max} bytes: is it the right file?"))
        }
        FileError::Kernel { errno, .. } => ("this file cannot be read", errno.to_string()),
    };
    let severity = Severity::Error;
    Faults(vec![Fault { severity, file: name.to_owned(), place: None, message: message.to_owned(), advice }])
}

/// The place is found in what stands before it, which is text.
fn not_text(name: &str, bytes: &[u8], at: usize) -> Faults {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let source = Source::new(name, &before);
    source.fault(at..at, "this is not UTF-8", "save the file as UTF-8; is it a text file at all?");
    source.finish().err().unwrap_or_default()
}
