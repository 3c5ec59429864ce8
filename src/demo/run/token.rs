//! The life of a token: minted, used, over; and what revoking can do and cannot.
//! It must never show one whole.

use std::time::Duration;

use serde_json::json;

use super::caller::Minted;
use super::stage::{KEY, Stage};
use super::step::{Masked, Shown, StepError, see};
use super::through::ask;

/// The shortest that leaves time to be used: the provider counts in whole seconds.
const SHORT: u64 = 2;

pub(super) fn mint(stage: &mut Stage) -> Result<Shown, StepError> {
    let minted = stage.mint("the 60-second token", &json!({ "key": KEY, "ttl": 60 }))?;
    let Minted { token, kind, expires_in, .. } = &minted;
    see(token.expose(|bytes| bytes.starts_with(b"st-")), || "it is no token of the provider's".to_owned())?;
    see(kind == "upstream" && (1..=60).contains(expires_in), || format!("{kind}, over in {expires_in} s"))?;
    let shown = format!("{} is over in {expires_in} s", Masked(token));
    stage.minute = Some(minted);
    Ok(Shown::Held(shown))
}

pub(super) fn spend(stage: &mut Stage) -> Result<Shown, StepError> {
    let token = &minute(stage)?.token;
    answered(stage, &minute(stage)?.token, 200)?;
    Ok(Shown::Held(format!("{} lists the models: 200", Masked(token))))
}

pub(super) fn expire(stage: &mut Stage) -> Result<Shown, StepError> {
    let Minted { token, expires_at, .. } = stage.mint("the short token", &json!({ "key": KEY, "ttl": SHORT }))?;
    answered(stage, &token, 200)?;
    stage.backstage.pause(until(expires_at, stage.clock.wall_nanos()))?;
    answered(stage, &token, 401)?;
    Ok(Shown::Held(format!("{} was minted for {SHORT} s: first 200, then 401", Masked(&token))))
}

pub(super) fn residual(stage: &mut Stage) -> Result<Shown, StepError> {
    let minted = minute(stage)?;
    let seconds = stage.caller.revoke(&minted.id)?;
    see((1..=60).contains(&seconds), || format!("it is said to live on for {seconds} s"))?;
    answered(stage, &minted.token, 200)?;
    Ok(Shown::Held(format!("an upstream token lives on for {seconds} s, and the broker says so")))
}

pub(super) fn mint_virtual(stage: &mut Stage) -> Result<Shown, StepError> {
    let own = stage.mint("the virtual key", &json!({ "key": KEY, "kind": "virtual", "ttl": 60 }))?;
    see(own.token.expose(|bytes| bytes.starts_with(b"sixty_")), || "it is no key of the broker's".to_owned())?;
    see(own.revocable && stage.caller.holds(&own.id)?, || "it is not among our live leases".to_owned())?;
    answered(stage, &own.token, 401)?;
    let shown = format!("{} is a live lease; at the provider it is nothing: 401", Masked(&own.token));
    stage.own = Some(own);
    Ok(Shown::Held(shown))
}

pub(super) fn revoke(stage: &mut Stage) -> Result<Shown, StepError> {
    let own = stage.own.as_ref().ok_or_else(|| missing("virtual key"))?;
    let seconds = stage.caller.revoke(&own.id)?;
    see(seconds == 0, || format!("it is said to live on for {seconds} s"))?;
    see(!stage.caller.holds(&own.id)?, || "it is still among our live leases".to_owned())?;
    let (status, _) = ask(stage, &own.token, "{}")?;
    see(status == 401, || format!("the gateway answered {status}"))?;
    Ok(Shown::Held(format!("{} is gone: the gateway answers 401, and nothing of it lives on", Masked(&own.token))))
}

fn minute(stage: &Stage) -> Result<&Minted, StepError> {
    stage.minute.as_ref().ok_or_else(|| missing("60-second token"))
}

fn missing(what: &str) -> StepError {
    StepError::Otherwise(format!("there is no {what} to try it with"))
}

fn answered(stage: &Stage, token: &crate::secret::Secret, due: u16) -> Result<(), StepError> {
    let status = stage.caller.call(token)?;
    see(status == due, || format!("the provider answered {status}, not {due}"))
}

/// How long it is from `now` to a moment surely after `second`.
fn until(second: u64, now: (i64, u32)) -> Duration {
    let now = Duration::new(u64::try_from(now.0).unwrap_or_default(), now.1);
    Duration::from_secs(second).saturating_sub(now) + Duration::from_millis(20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_after_the_second_has_come() {
        assert_eq!(until(12, (10, 500_000_000)), Duration::from_millis(1520));
        assert_eq!(until(10, (12, 0)), Duration::from_millis(20));
    }
}
