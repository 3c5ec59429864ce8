//! Recipes of the owner's own, in `providers/` beside the config, and only as trusted as the config itself.
//! A file never takes the place of a recipe that ships with the program, nor of another file's.

use super::{
    fault::{Fault, Faults, Severity},
    file,
    source::Source,
};
use crate::{
    recipe::{Recipe, RecipeError},
    sys::dir::{DirError, config_files},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FORM: &str = "`sixty manual providers` shows how a provider's file is written";
const TAKEN: &str = "choose another name: a provider is never put in the place of another one";

/// The recipes that ship with the program and all good ones of a folder, with what is wrong with the others: the first
/// fault of each file. No folder is no fault.
pub(super) fn recipes(folder: &Path) -> (BTreeMap<String, Recipe>, Faults) {
    let mut faults = Vec::new();
    let mut recipes = Recipe::shipped().unwrap_or_else(|fault| {
        faults.push(about(Path::new("sixty"), fault.to_string(), "this is the program's own fault"));
        BTreeMap::new()
    });
    let files = files(folder).unwrap_or_else(|fault| {
        faults.push(untrusted(folder, &fault));
        Vec::new()
    });
    for path in files {
        match recipe(&path, &recipes) {
            Ok(recipe) => drop(recipes.insert(recipe.name.clone(), recipe)),
            Err(more) => faults.extend(more.0),
        }
    }
    (recipes, Faults(faults))
}

/// Every `*.toml` that is no editor's own, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DirError> {
    let mut paths = match config_files(folder) {
        Err(DirError::Missing { .. }) => return Ok(Vec::new()),
        paths => paths?,
    };
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    paths.sort();
    Ok(paths)
}

/// In the words in which a file is refused.
fn untrusted(folder: &Path, fault: &DirError) -> Fault {
    let (message, advice) = match fault {
        DirError::Foreign { owner, .. } => {
            ("this folder belongs to somebody else", format!("its owner is uid {owner}: it must be you or root"))
        }
        DirError::Open { mode, .. } => {
            ("others can change this folder", format!("its mode is {mode:04o}: chmod go-w {}", folder.display()))
        }
        DirError::NotDirectory { .. } => {
            ("this is no folder", "put the folder itself there, not a link or a file".into())
        }
        DirError::Missing { .. } | DirError::Kernel { .. } => ("this folder cannot be read", fault.to_string()),
    };
    about(folder, message.to_owned(), &advice)
}

fn recipe(path: &Path, others: &BTreeMap<String, Recipe>) -> Result<Recipe, Faults> {
    let text = file::text(path)?;
    let name = path.to_string_lossy();
    let source = Source::new(&name, &text);
    let at = |word: &str| text.find(word).map_or(0..0, |at| at..at + word.len());
    match Recipe::parse(&name, &text) {
        Ok(recipe) if !others.contains_key(&recipe.name) => return Ok(recipe),
        Ok(recipe) => {
            let quoted = format!("\"{}\"", recipe.name);
            source.fault(at(&quoted), format!("there is a provider `{}` already", recipe.name), TAKEN);
        }
        Err(RecipeError::Text { at, message, .. }) => source.fault(at, message, FORM),
        Err(RecipeError::Schema(_, found)) => {
            source.fault(at("schema"), format!("schema {found} is of another version"), "this one reads schema = 1");
        }
    }
    Err(source.finish().err().unwrap_or_default())
}

fn about(path: &Path, message: String, advice: &str) -> Fault {
    let file = path.to_string_lossy().into_owned();
    Fault { severity: Severity::Error, file, place: None, message, advice: advice.to_owned() }
}
