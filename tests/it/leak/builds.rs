//! The three release builds that `.ci/run` leaves in `target/leak`, and a run of one test on one of them.
//! A build that is missing or older than the sources is never looked at.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// One release build.
#[derive(Clone, Copy)]
pub enum Build {
    /// As it is shipped.
    Sound,
    /// `--features leaky-allocator`.
    LeakyAllocator,
    /// `--features leaky-tasks`.
    LeakyTasks,
}

/// What a test saw of a build.
pub struct Seen {
    pub clean: bool,
    pub text: String,
}

impl Build {
    /// Runs an ignored test of this file on the build; none when there is no such build, which only CI minds.
    pub fn looked_at(self, test: &str) -> Option<Seen> {
        let program = self.program()?;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("leak::{test}"), "--ignored", "--nocapture"]).env("SIXTY_BIN", &program);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(text.contains("1 passed") || text.contains("1 failed"), "{text}");
        eprintln!("{}:\n{text}", program.display());
        Some(Seen { clean: output.status.success(), text })
    }

    fn program(self) -> Option<PathBuf> {
        let (variable, name) = match self {
            Self::Sound => ("SIXTY_RELEASE_BIN", "sound"),
            Self::LeakyAllocator => ("SIXTY_LEAKY_ALLOCATOR_BIN", "leaky-allocator"),
            Self::LeakyTasks => ("SIXTY_LEAKY_TASKS_BIN", "leaky-tasks"),
        };
        let usual = || target().join("leak").join(name);
        let path = std::env::var_os(variable).map_or_else(usual, PathBuf::from);
        let changed = newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        if path.metadata().and_then(|file| file.modified()).is_ok_and(|built| built >= changed) {
            return Some(path);
        }
        lacking(&format!("no fresh build at {}: run `.ci/build-for-leaks`, or set {variable}", path.display()));
        None
    }
}

/// Says what cannot be looked at; CI must be able to look at all.
pub fn lacking(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what}");
    eprintln!("not looked at: {what}");
}

fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sixty"));
    program.ancestors().nth(2).unwrap().to_owned()
}

/// When anything below was changed last.
fn newest(directory: &Path) -> SystemTime {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
