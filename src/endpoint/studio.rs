//! Model Studio's own protocol: `POST /api/v1/tokens?expire_in_seconds=N`, so that what mints there can mint here.
//! The bearer names one of our keys, and is never a key itself.

use super::{native::malformed, reply::Reply, route::Way};
use crate::{
    broker::{Grant, Session},
    model::{Code, KeyName, Kind, Malformed, Refusal, Ttl},
    wire,
};
use hyper::{Request, body::Incoming};

pub(super) const PATH: &str = "/api/v1/tokens";

/// Answers one request in Model Studio's shape. It has no body: one that is sent is not read.
pub(super) async fn answer(session: &Session, way: &Way, request: &Request<Incoming>) -> Reply {
    match granted(session, way, request).await {
        Ok(Grant { lease, receipt }) => match wire::studio_token(lease, Box::new(receipt)) {
            Ok(encoded) => Reply::token(200, encoded),
            Err(_) => Reply::studio_error(&Refusal::new(Code::Unavailable, session.broker().request_id())),
        },
        Err(refusal) => Reply::studio_error(&refusal),
    }
}

async fn granted(session: &Session, way: &Way, request: &Request<Incoming>) -> Result<Grant, Refusal> {
    let fault = |fault: Malformed| malformed(session, &fault);
    let ttl = ttl(way.parameter("expire_in_seconds")).map_err(fault)?;
    let key = match bearer(request).map_err(fault)? {
        Some(name) => name,
        None => session.only_key("dashscope").await?,
    };
    let wish = crate::model::Request {
        key,
        kind: Some(Kind::Upstream),
        ttl: Some(ttl),
        min_remaining: None,
        uses: None,
        owner: None,
        scope: None,
        recipient: None,
        ticket: false,
    };
    session.ask(wish).await
}

/// 1 to 1,800, as the provider documents it; left out: 60.
fn ttl(asked: Option<&str>) -> Result<Ttl, Malformed> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let seconds = asked.map_or(Some(60), digits).filter(|seconds| (1..=1800).contains(seconds));
    let fault = || Malformed("expire_in_seconds is a whole number from 1 to 1800".into());
    seconds.ok_or_else(fault).and_then(Ttl::try_from)
}

fn bearer(request: &Request<Incoming>) -> Result<Option<KeyName>, Malformed> {
    let Some(value) = request.headers().get("authorization") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().strip_prefix("Bearer ").unwrap_or_default();
    text.trim().parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_range_is_kept() {
        let seconds = |asked| ttl(asked).map(Ttl::seconds).ok();
        assert_eq!(seconds(None), Some(60));
        assert_eq!(seconds(Some("1800")), Some(1800));
        for bad in ["0", "1801", "x", "", "+60", "6.0", "99999999999999999999"] {
            assert_eq!(seconds(Some(bad)), None, "{bad}");
        }
    }
}
