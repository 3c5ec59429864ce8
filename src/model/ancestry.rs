//! A process and those above it, for the record of an alarm: what each runs, in few words. It must never hold a word that
//! may be a secret, nor grow beyond its bound.

use std::path::PathBuf;

/// Processes that are told.
const MOST: usize = 8;
/// Words of a command line that are told.
const WORDS: usize = 8;
/// So long a run of letters with a digit among them may be a key, a token or a hash.
const LONG: usize = 12;

/// A line for each, the process itself first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ancestry(Vec<String>);

impl Ancestry {
    /// The lines.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Of lines as [`line()`] makes them; those beyond the eighth are left out.
impl FromIterator<String> for Ancestry {
    fn from_iter<T: IntoIterator<Item = String>>(lines: T) -> Self {
        Self(lines.into_iter().take(MOST).collect())
    }
}

/// One process in a line. Of its command line whatever may be a secret is left out.
pub fn line(pid: i32, uid: Option<u32>, exe: Option<PathBuf>, command: &[Vec<u8>]) -> String {
    let uid = uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    let exe = exe.map_or_else(|| "?".into(), |exe| exe.to_string_lossy().into_owned());
    let words = words(command, WORDS);
    format!("pid {pid} uid {uid} {exe}:{}{words}", if words.is_empty() { "" } else { " " })
}

/// The first words of a command line. Whatever may be a secret is left out.
pub fn words(command: &[Vec<u8>], most: usize) -> String {
    let words: Vec<_> = command.iter().take(most).map(|word| String::from_utf8_lossy(word)).collect();
    let hidden = |at: usize| at > 0 && hides(&words[at - 1], &words[at]);
    let tell = |at: usize| if hidden(at) { "***".into() } else { shown(&words[at]) };
    let mut told: Vec<String> = (0..words.len()).map(tell).collect();
    if command.len() > most {
        told.push("…".into());
    }
    told.join(" ")
}

/// A word without what stands behind a telling name, and without long runs that no person would type.
fn shown(word: &str) -> String {
    if let Some((name, _)) = word.split_once(['=', ':']).filter(|(name, _)| names_a_secret(name)) {
        return format!("{name}=***");
    }
    if let Some((before, after)) = word.split_once("://")
        && let Some((_, host)) = after.split('/').next().and_then(|place| place.rsplit_once('@'))
    {
        // Whoever logs in is told in a URL with their password: RFC 3986, 3.2.1.
        let rest = &after[after.find('/').unwrap_or(after.len())..];
        return shown(&format!("{before}://{host}{rest}")).replacen("://", "://***@", 1);
    }
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "_-+~".contains(c);
    if let Some(name) = ["-p", "-u"].into_iter().find(|name| word.len() > 2 && word.starts_with(name)) {
        return format!("{name}***");
    }
    let random = |run: &&str| run.len() >= LONG && run.bytes().any(|b| b.is_ascii_digit());
    let runs: Vec<&str> = word.split(|c| !is_letter(c)).filter(random).collect();
    runs.iter().fold(word.to_owned(), |word, run| word.replace(run, "***"))
}

/// Whether a word may be a secret for what stands before it.
fn hides(before: &str, word: &str) -> bool {
    match before {
        // With a password, if with one. `python3 -u agent.py` is to be told.
        "-u" | "--user" => word.contains(':'),
        "-H" | "-p" => true,
        _ => names_a_secret(before) && !before.contains('='),
    }
}

fn names_a_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let telling = ["pass", "token", "secret", "key", "auth", "bearer", "credential", "cookie", "header", "pwd"];
    telling.iter().any(|name| word.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        line(7, Some(1000), Some("/usr/bin/x".into()), &words)
    }

    #[test]
    fn a_line_tells_the_program_and_never_a_secret() {
        assert_eq!(told(&["python3", "agent.py", "--fast"]), "pid 7 uid 1000 /usr/bin/x: python3 agent.py --fast");
        assert!(told(&["python3", "-u", "agent.py"]).ends_with(" python3 -u agent.py"));
        for words in [
            &["curl", "-u", "me:hunter2"][..],
            &["curl", "-H", "Authorization: Bearer hunter2"],
            &["curl", "https://u:p@h/?q=sk-0123456789abcdef"],
            &["psql", "postgres://me:hunter2@db/x"],
            &["curl", "--user", "me:hunter2"],
            &["mysql", "-phunter2"],
            &["x", "--password", "hunter2"],
            &["x", "--api-key=hunter2"],
            &["env", "API_KEY=hunter2"],
            &["x", "sk-0123456789abcdef"],
        ] {
            let line = told(words);
            assert!(line.contains("***") && !line.contains("hunter2") && !line.contains("0123"), "{line}");
        }
        assert!(told(&["a"; 20]).ends_with(" a …"));
        assert_eq!((0..20).map(|n| n.to_string()).collect::<Ancestry>().told().count(), MOST);
        assert_eq!(line(1, None, None, &[]), "pid 1 uid ? ?:");
    }
}
