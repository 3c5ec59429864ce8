//! A provider file's text → a recipe. It never takes a field that it does not know, nor a file that refers to nothing.

use super::Recipe;
use std::ops::Range;

/// A recipe that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The text is no recipe.
    #[error("{file}:{line}:{column}: {message}")]
    Text {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The same place in bytes.
        at: Range<usize>,
        /// What is wrong.
        message: String,
    },
    /// A format that this version does not know.
    #[error("{0}: schema {1} is of another version; this one reads schema 1")]
    Schema(String, u32),
}

pub(super) fn parse(file: &str, text: &str) -> Result<Recipe, RecipeError> {
    let mut recipe: Recipe = match toml::from_str(text) {
        Ok(recipe) => recipe,
        Err(fault) => {
            let known = schema(text).filter(|schema| *schema != 1);
            let at = || error(file, text, fault.span(), fault.message());
            return Err(known.map_or_else(at, |schema| RecipeError::Schema(file.to_owned(), schema)));
        }
    };
    if recipe.schema != 1 {
        return Err(RecipeError::Schema(file.to_owned(), recipe.schema));
    }
    let known: Vec<_> = recipe.set.keys().cloned().collect();
    if let Some(header) = recipe.gateway.dropped_key() {
        let at = text.find("drop").map(|at| at..at + 4);
        return Err(error(file, text, at, &format!("`{header}` is where the key stands: it cannot be dropped")));
    }
    match recipe.placeholders().into_iter().find(|name| !known.contains(name)) {
        None => {
            recipe.client.default_to(&recipe.name);
            Ok(recipe)
        }
        Some(name) => {
            let at = text.find(&format!("{{{name}}}")).map(|at| at..at + name.len() + 2);
            Err(error(file, text, at, &format!("`{{{name}}}` stands for nothing: there is no [set.{name}]")))
        }
    }
}

/// What the text says of its own format, before anything else of it is believed.
fn schema(text: &str) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: u32,
    }
    toml::from_str::<Head>(text).ok().map(|head| head.schema)
}

fn error(file: &str, text: &str, at: Option<Range<usize>>, message: &str) -> RecipeError {
    let at = at.unwrap_or_default();
    let start = text.floor_char_boundary(at.start);
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    RecipeError::Text {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        at,
        message: message.trim_end().replace('\n', ": "),
    }
}

impl Recipe {
    /// The names of all values that its own texts refer to.
    fn placeholders(&self) -> Vec<String> {
        self.upstream.placeholders().chain(self.gateway.placeholders()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../config/providers/azure-openai.toml");

    fn told(text: &str) -> String {
        Recipe::parse("x.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_recipe_of_tomorrow_is_not_guessed_at() {
        let text = GOOD.replace("schema = 1", "schema = 2");
        assert!(matches!(Recipe::parse("x.toml", &text), Err(RecipeError::Schema(_, 2))));
        let text = format!("unheard = 1\n{text}");
        assert!(matches!(Recipe::parse("x.toml", &text), Err(RecipeError::Schema(_, 2))));
    }

    #[test]
    fn a_fault_is_told_with_its_place() {
        let at = |old: &str, new: &str, place: &str| {
            let line = GOOD.lines().position(|line| line.contains(old)).unwrap() + 1;
            let told = told(&GOOD.replacen(old, new, 1));
            assert!(told.starts_with(&format!("x.toml:{line}:")), "{told}");
            assert!(told.contains(place), "{told}");
        };
        at("name = \"azure-openai\"", "name = \"Azure/\"", "a provider's name");
        at("inject = \"api-key\"", "inject = \"host\"", "header");
        at("inject = \"api-key\"", "inject = \"{key}\"", "no [set.key]");
        at("shape = \"openai-chat\"", "shape = \"openai\"", "a shape is one of");
        at("\"DELETE **\"", "\"delete **\"", "risky");
        at("title =", "titel =", "titel");
        at("inject = \"api-key\"", "drop = [\"api-key\"]\ninject = \"api-key\"", "no key's place");
        at("inject = \"api-key\"", "drop = [\"x-mine\"]\ninject = \"x-mine\"", "where the key stands");
        at("host = \"{resource}.openai.azure.com\"", "host = \"{res}.openai.azure.com\"", "no [set.res]");
        at("host = \"{resource}.openai.azure.com\"", "host = \"evil.example/x\"", "host");
    }

    #[test]
    fn an_empty_file_says_what_it_lacks() {
        assert!(told("").starts_with("x.toml:1:1: missing field"), "{}", told(""));
    }
}
