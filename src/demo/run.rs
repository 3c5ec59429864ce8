//! The story that `sixty demo` tells, step by step, with nothing set up: pretend provider, real broker, made-up key.
//!
//! It must never claim a step that it has not seen hold, nor leave a process or a file behind.

mod backstage;
mod caller;
mod folder;
mod launch;
mod opening;
mod proof;
mod refusal;
mod stage;
mod step;
mod telling;
mod through;
mod token;

use std::process::ExitCode;

use self::stage::Stage;
use self::step::{Record, Step};
pub(super) use self::telling::Form;
use self::telling::Telling;

/// What comes after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// All is cleared away.
    End,
    /// It stays, to be talked to, until it is interrupted.
    Stay,
}

/// What shells say of a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

const STORY: [Step; 23] = [
    Step { name: "stand-in", proves: "a pretend Model Studio asks for TLS and a key", act: opening::stand_in },
    Step { name: "broker", proves: "a real broker starts from nothing in a private folder", act: opening::broker },
    Step { name: "store", proves: "a key goes in and is never shown again", act: opening::store },
    Step { name: "identify", proves: "the kernel, not the caller, says who asks", act: opening::identify },
    Step { name: "mint", proves: "an identified process gets a token for 60 seconds", act: token::mint },
    Step { name: "use", proves: "the provider takes the token", act: token::spend },
    Step { name: "expire", proves: "a token that is over is refused", act: token::expire },
    Step { name: "residual", proves: "revoking says what the provider cannot take back", act: token::residual },
    Step {
        name: "virtual",
        proves: "a key of the broker's own is minted, and is no provider's",
        act: token::mint_virtual,
    },
    Step {
        name: "gateway",
        proves: "at the gateway a virtual key is good, and the real one is put in",
        act: through::call,
    },
    Step { name: "stream", proves: "an answer streams through the gateway event by event", act: through::stream },
    Step { name: "budget", proves: "a stream is cut where its key's budget of tokens ends", act: through::budget },
    Step { name: "copied", proves: "a virtual key is worthless in another process", act: through::copied },
    Step {
        name: "sandbox",
        proves: "a job without any network streams through the gateway, within its budget",
        act: through::sandbox,
    },
    Step { name: "revoke", proves: "a revoked virtual key is good for nothing at once", act: token::revoke },
    Step { name: "unknown", proves: "a key that there is not is denied", act: refusal::unknown },
    Step { name: "rules", proves: "a key that no rule gives is denied in the same words", act: refusal::outside },
    Step { name: "stranger", proves: "another user of this machine is denied", act: refusal::stranger },
    Step { name: "lock", proves: "a locked broker mints nothing", act: refusal::lock },
    Step { name: "unlock", proves: "unlocking brings all back", act: refusal::unlock },
    Step { name: "scan", proves: "no key and no token is left in the broker's memory", act: proof::scan },
    Step { name: "disk", proves: "no key and no token is in its files and its log", act: proof::disk },
    Step { name: "audit", proves: "every decision is on record, and the chain holds", act: proof::audit },
];

/// Comes last, also when the broker stayed for a while.
const END: Step = Step { name: "end", proves: "the broker ends cleanly when it is told to", act: proof::end };

/// Plays the story and tells it.
pub(super) fn run(afterwards: Afterwards, form: Form) -> ExitCode {
    let mut telling = Telling::new(form);
    let outcome = match Stage::new() {
        Ok(mut stage) => play(&mut stage, afterwards, &mut telling),
        Err(fault) => return telling.nothing(&fault),
    };
    match outcome {
        // Nobody reads any more.
        Err(_) => ExitCode::FAILURE,
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(Ending::Held) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::FAILURE,
    }
}

enum Ending {
    Held,
    Failed,
    Interrupted,
}

fn play(stage: &mut Stage, afterwards: Afterwards, telling: &mut Telling) -> std::io::Result<Ending> {
    telling.begin()?;
    for step in &STORY {
        let record = take(stage, step);
        let failed = record.ok == Some(false);
        telling.step(record)?;
        if stage.interrupted() {
            return Ok(Ending::Interrupted);
        }
        if failed && !stage.serves() {
            break; // without a broker nothing else can be tried
        }
    }
    if afterwards == Afterwards::Stay && stage.serves() {
        telling.stay(stage)?;
        stage.linger();
    }
    if stage.launched.is_some() {
        telling.step(take(stage, &END))?;
    }
    telling.end(STORY.len() + 1)
}

fn take(stage: &mut Stage, step: &Step) -> Record {
    let began = stage.clock.boot();
    let shown = (step.act)(stage);
    let took = stage.clock.boot().since(began);
    Record::new(step, shown, took)
}
