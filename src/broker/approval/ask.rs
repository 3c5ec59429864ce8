//! The program that asks a person: a pinentry, or one like SSH_ASKPASS, run for one question after the other. Whatever it
//! does but say yes is none; and it ends when nobody waits for its answer any more.

use super::{Answer, Waiting, words::words};
use crate::{
    broker::Broker,
    model::Approver,
    sys::{
        launcher::{Ended, Errand, How, LaunchError, Launcher},
        scrub,
    },
    wire::assuan::{self, Question},
};
use std::{convert::Infallible, path::PathBuf, time::Duration};
use tokio::{task::JoinHandle, time::sleep};
use tracing::warn;

/// Who asks.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// What runs it.
    pub launcher: Launcher,
    /// Its path.
    pub program: PathBuf,
    /// What it understands.
    pub speech: Speech,
}

/// What a program that asks understands.
#[derive(Debug, Clone)]
pub enum Speech {
    /// The Assuan protocol; with the terminal, and its type, for a pinentry that has no window.
    Pinentry(Option<(String, String)>),
    /// The question as an argument; its exit status is the answer: ssh-add(1), SSH_ASKPASS_PROMPT=confirm.
    Askpass,
}

/// How often a place is looked for.
const PLACE: Duration = Duration::from_millis(100);
/// Bytes of its answer that are read.
const OUTPUT: usize = 4096;
/// Bytes of a question as an argument.
const ARGUMENT: usize = 4096;

impl Speech {
    fn name(&self) -> &'static str {
        match self {
            Self::Pinentry(_) => "pinentry",
            Self::Askpass => "askpass",
        }
    }
}

impl Broker {
    /// Starts the task that has questions asked by a program, where one is to.
    pub fn spawn_asker(&self) -> Option<JoinHandle<()>> {
        let options = self.0.approvals.options.ask.clone()?;
        let broker = self.clone();
        Some(scrub::spawn(async move { asker(&broker, &options).await }))
    }
}

/// One at a time: a person answers what is in front.
async fn asker(broker: &Broker, options: &AskOptions) {
    let approvals = &broker.0.approvals;
    let by = Approver { how: options.speech.name(), uid: broker.0.options.owner, pid: None };
    loop {
        let waiting = approvals.next().await;
        tokio::select! {
            biased;
            () = approvals.closed(waiting.id) => {}
            answer = ask(options, &waiting) => {
                let answer = match answer {
                    Ok(Said::Yes) => Answer::Yes(by),
                    Ok(Said::No) => Answer::No(by),
                    Ok(Said::Nothing) => Answer::Late,
                    Err(fault) => {
                        warn!(%fault, "nobody can be asked for approval");
                        Answer::Failed
                    }
                };
                let Ok(_) = approvals.answer(waiting.id, answer, |_| Ok::<_, Infallible>(()));
            }
        }
    }
}

/// What a person said to a program.
enum Said {
    Yes,
    No,
    /// Nothing, until its time was over.
    Nothing,
}

impl From<bool> for Said {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{0} gave no answer; try it by hand")]
    Mute(PathBuf),
}

async fn ask(options: &AskOptions, waiting: &Waiting) -> Result<Said, AskError> {
    let within = Duration::from_secs(waiting.expires_in);
    let mute = || AskError::Mute(options.program.clone());
    match &options.speech {
        Speech::Pinentry(terminal) => {
            let text = words(waiting, assuan::DESCRIPTION);
            let terminal = terminal.as_ref().map(|(name, kind)| (name.as_str(), kind.as_str()));
            let question = Question { text: &text, terminal, seconds: waiting.expires_in };
            let (input, replies) = assuan::conversation(&question);
            let errand = Errand { arguments: &[], input: input.as_bytes(), within, output: OUTPUT };
            match run(options, errand).await? {
                Ended { how: How::TimeUp, .. } => Ok(Said::Nothing),
                Ended { output, .. } if assuan::nobody_answered(&output) => Ok(Said::Nothing),
                Ended { output, .. } => assuan::all_ok(&output, replies).map(Said::from).ok_or_else(mute),
            }
        }
        Speech::Askpass => {
            let text = words(waiting, ARGUMENT);
            let errand = Errand { arguments: &[text.as_str()], input: b"", within, output: OUTPUT };
            let Ended { how, output } = run(options, errand).await?;
            let said = str::from_utf8(&output).unwrap_or("no").trim();
            Ok(match how {
                How::TimeUp => Said::Nothing,
                How::Exited(0) => Said::from(said.is_empty() || said.eq_ignore_ascii_case("yes")),
                How::Exited(_) | How::Killed(_) => Said::No,
            })
        }
    }
}

/// Waits for a place: what ran before may not have ended yet.
async fn run(options: &AskOptions, errand: Errand<'_>) -> Result<Ended, LaunchError> {
    loop {
        match options.launcher.run(&options.program, errand).await {
            Err(LaunchError::Busy) => sleep(PLACE).await,
            ended => return ended,
        }
    }
}
